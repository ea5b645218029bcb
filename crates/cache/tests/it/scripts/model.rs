//! What the scripts do to one entry, and what they answer.

/// One entry's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) data: Option<Data>,
    pub(super) floor: Option<i64>,
    /// Whose, and whether it still lives.
    pub(super) token: Option<(u8, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) schema: u16,
    pub(super) version: i64,
    pub(super) soft: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Lease {
        token: u8,
        lives: bool,
        seen: u64,
        schema: u16,
    },
    Populate {
        token: u8,
        data: Data,
    },
    Invalidate {
        version: i64,
    },
    /// Somebody else writes there.
    Spoil {
        data: Data,
    },
    Release {
        token: u8,
    },
    LoseData,
    LoseControl,
}

/// From here on an entry is fresh for as long as a test takes; below, it is stale.
pub(super) const FRESH: u64 = 9_000_000_000_000;

impl Data {
    /// Whether it has what may be a version.
    fn is_entry(self) -> bool {
        (0..1 << 53).contains(&self.version)
    }
}

impl Model {
    /// What is there and is an entry.
    fn entry(&self) -> Option<Data> {
        self.data.filter(|data| data.is_entry())
    }

    /// What the script answers.
    pub(super) fn step(&mut self, step: &Step) -> String {
        match *step {
            Step::Lease {
                token,
                lives,
                seen,
                schema,
            } => {
                if let Some(data) = self.entry() {
                    if data.schema > schema {
                        return "newer".to_owned();
                    }
                    let whole = data.version > 0;
                    if data.schema == schema && data.soft >= FRESH && data.soft != seen && whole {
                        return format!("data {}", data.version);
                    }
                }
                if matches!(self.token, Some((_, true))) {
                    return "busy".to_owned();
                }
                let expired = u8::from(self.token.is_some());
                self.token = Some((token, lives));
                let cached = self.entry().map_or(0, |data| data.version);
                format!("won {} {expired}", self.floor.unwrap_or(0).max(cached))
            }
            Step::Populate { token, data } => {
                if self.token != Some((token, true)) {
                    return "token".to_owned();
                }
                self.token = None;
                let refused = if self.floor.is_some_and(|floor| floor > data.version) {
                    Some("floor")
                } else if self.entry().is_some_and(|cached| cached.schema > data.schema) {
                    Some("schema")
                } else if self.entry().is_some_and(|cached| cached.version > data.version) {
                    Some("older")
                } else {
                    None
                };
                if refused.is_none() {
                    self.data = Some(data);
                }
                refused.unwrap_or("stored").to_owned()
            }
            Step::Invalidate { version } => {
                let before = self.clone();
                self.data = self.entry().filter(|data| data.version >= version);
                self.floor = self.floor.max(Some(version));
                if *self == before { "redundant" } else { "applied" }.to_owned()
            }
            Step::Spoil { data } => {
                self.data = Some(data);
                String::new()
            }
            Step::Release { token } => {
                if self.token.is_some_and(|(holder, _)| holder == token) {
                    self.token = None;
                    "1".to_owned()
                } else {
                    "0".to_owned()
                }
            }
            Step::LoseData => {
                self.data = None;
                String::new()
            }
            Step::LoseControl => {
                (self.floor, self.token) = (None, None);
                String::new()
            }
        }
    }
}
