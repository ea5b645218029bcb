//! Breadth first through every state that can be reached: what it finds first is a shortest counterexample.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub(crate) trait Model {
    type State: Copy + Eq + Hash + fmt::Debug;

    fn initial(&self) -> Self::State;

    /// Appends every step that can be taken from `state`, and the state that it leads to.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Step, Self::State)>);

    /// What `state` breaks, said for a reader. Nothing follows such a state.
    fn broken(&self, state: &Self::State) -> Option<String>;
}

/// What happened in one step; `{}` stands for the number.
#[derive(Clone, Copy)]
pub(crate) struct Step(pub(crate) &'static str, pub(crate) u8);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace("{}", &self.1.to_string()))
    }
}

/// All states have been visited, and none is broken.
#[derive(Debug)]
pub(crate) struct Exhausted {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The longest of the shortest ways to a state.
    pub(crate) depth: usize,
}

/// The steps that lead from the initial state to a broken one.
#[derive(Debug)]
pub(crate) struct Counterexample {
    text: String,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// More than a test in a debug build can visit in a few seconds. A search that reaches it has proved nothing.
const MOST_STATES: usize = 4_000_000;

pub(crate) fn search<M: Model>(model: &M) -> Result<Exhausted, Counterexample> {
    let initial = model.initial();
    // The state, where it was reached from, and after how many steps.
    let mut visited = vec![(initial, 0_u32, 0_u32)];
    let mut known = HashSet::<M::State, BuildHasherDefault<Multiply>>::default();
    known.insert(initial);
    let mut next = Vec::new();
    let (mut at, mut steps, mut depth) = (0, 0, 0);
    while let Some(&(state, _, distance)) = visited.get(at) {
        if let Some(breach) = model.broken(&state) {
            return Err(retrace(model, &visited, at, &breach));
        }
        depth = distance;
        model.steps(&state, &mut next);
        steps += next.len();
        for (_, state) in next.drain(..) {
            if known.insert(state) {
                visited.push((state, u32::try_from(at).expect("below MOST_STATES"), distance + 1));
            }
        }
        assert!(
            visited.len() < MOST_STATES,
            "more than {MOST_STATES} states: nothing is proved"
        );
        at += 1;
    }
    Ok(Exhausted {
        states: visited.len(),
        steps,
        depth: depth as usize,
    })
}

fn retrace<M: Model>(model: &M, visited: &[(M::State, u32, u32)], at: usize, breach: &str) -> Counterexample {
    let mut path = vec![at];
    while *path.last().expect("it starts with one") != 0 {
        path.push(visited[path[path.len() - 1]].1 as usize);
    }
    path.reverse();
    let mut text = String::new();
    for (number, pair) in path.windows(2).enumerate() {
        let (from, to) = (&visited[pair[0]].0, &visited[pair[1]].0);
        let mut next = Vec::new();
        model.steps(from, &mut next);
        let (step, _) = next
            .iter()
            .find(|(_, state)| state == to)
            .expect("it was reached by a step");
        text.push_str(&format!("  {:>2}. {step}\n", number + 1));
    }
    text.push_str(&format!("      {breach}\n"));
    Counterexample { text }
}

/// The states are small and nobody chooses them to collide: the standard hasher would be most of the search.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
