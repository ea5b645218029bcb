//! The four scripts, on the real server, against a model of them in Rust: after any steps both answer and hold the same.

mod memory;
mod model;
mod real;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestError, TestRunner};
use uuid::Uuid;

use self::model::{Data, FRESH, Model, Step};
use self::real::{Real, Scripts};
use crate::server::connect;
use crate::shelf::redis;
use crate::wrong;

fn softs() -> impl Strategy<Value = u64> {
    prop_oneof![1..3_u64, FRESH..FRESH + 2]
}

fn data() -> impl Strategy<Value = Data> {
    (1..3_u16, 0..5_i64, softs()).prop_map(|(schema, version, soft)| Data {
        schema,
        version,
        soft,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease =
        (0..3_u8, prop::bool::weighted(0.8), softs(), 1..3_u16).prop_map(|(token, lives, seen, schema)| {
            Step::Lease {
                token,
                lives,
                seen,
                schema,
            }
        });
    let populate = (0..3_u8, data()).prop_map(|(token, data)| Step::Populate { token, data });
    let garbage = (
        1..3_u16,
        prop::sample::select(vec![-1, 0, 1 << 53, i64::MAX]),
        softs(),
    );
    let spoil = garbage.prop_map(|(schema, version, soft)| Step::Spoil {
        data: Data {
            schema,
            version,
            soft,
        },
    });
    let step = prop_oneof![
        4 => lease,
        6 => populate,
        2 => (1..5_i64).prop_map(|version| Step::Invalidate { version }),
        1 => (0..3_u8).prop_map(|token| Step::Release { token }),
        1 => spoil,
        1 => Just(Step::LoseData),
        1 => Just(Step::LoseControl),
    ];
    vec(step, 1..30)
}

/// The shortest sequence of steps after which server and model differ, if one was found.
fn difference(scripts: &Scripts, cases: u32) -> Result<(), String> {
    let mut redis = connect(&redis());
    let config = Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let redis = std::cell::RefCell::new(&mut redis);
    let found = TestRunner::new(config).run(&steps(), |steps| {
        let id = Uuid::now_v7();
        let mut redis = redis.borrow_mut();
        let mut real = Real {
            redis: &mut redis,
            scripts,
            data: format!("c1:{{script:{id}}}:d"),
            control: format!("c1:{{script:{id}}}:c"),
        };
        let mut model = Model::default();
        for step in &steps {
            let expected = model.step(step);
            let answer = real
                .step(step)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&answer, &expected, "{:?}", step);
            prop_assert_eq!(&real.state().unwrap(), &model, "{:?}", step);
            prop_assert!(real.expires().unwrap(), "{:?} leaves a key for ever", step);
        }
        Ok(())
    });
    match found {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, steps)) => Err(format!("{why}\n{steps:#?}")),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn the_scripts_do_what_the_model_does() {
    if let Err(difference) = difference(&Scripts::right(), 400) {
        panic!("{difference}");
    }
}

#[test]
fn every_wrong_variant_of_a_script_is_caught() {
    for (script, line, wrong) in wrong::SCRIPTS {
        let scripts = Scripts::with(|name, text| {
            if name != *script {
                return text.to_owned();
            }
            assert!(text.contains(line), "{script}.lua no longer says {line}");
            text.replace(line, wrong)
        });
        let caught = difference(&scripts, 400);
        assert!(caught.is_err(), "{script}.lua with `{wrong}` for `{line}` passes");
    }
}
