//! Processes that read the same keys while these expire and are invalidated, and while the holders of leases are killed.

use std::path::Path;

use lab::benches::stampede::{self, Line, Plan, Way};

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_costs_one_load_however_many_processes_read() {
    let redis = std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`");
    let plan = Plan {
        processes: 3,
        tasks: 16,
        expiries: 60,
        kills: 3,
        keys: 10,
        load_ms: vec![50],
        soft_ttl_ms: 500,
        pause_ms: 10,
        // A busy machine must not make a load of a hit.
        redis_timeout_ms: 20_000,
    };
    let lab = Path::new(env!("CARGO_BIN_EXE_lab"));
    let report = stampede::run(&redis, lab, &plan)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    for line in &report.lines {
        check(line, &plan);
    }
}

fn check(line: &Line, plan: &Plan) {
    let Line { scenario, cost, .. } = line;
    assert_eq!((line.failed, line.bypassed), (0, 0), "{line:?}");
    let enough = if scenario.kills {
        1
    } else {
        plan.expiries as usize * 8 / 10
    };
    assert!(cost.events >= enough, "{scenario}: {line:?}");
    match scenario.way {
        Way::Cache => {
            // A holder that died costs one more load. So does one that looks dead, on a machine that stands still for longer than
            // a lease. What a killed process had counted since it last told is lost, so the leases alone would be too few.
            let dead = usize::try_from(line.expired_leases).unwrap() + line.killed_loading;
            assert!(cost.loads <= cost.events + dead, "{scenario}: {line:?}");
            assert!(cost.most_by_process <= 2 + dead, "{scenario}: {line:?}");
            if scenario.kills {
                assert!(line.killed_loading > 0, "{scenario}: {line:?}");
            }
            if !scenario.writes {
                assert!(line.early > 0, "{scenario}: {line:?}");
            }
        }
        // What the cache is for: a checker that can't see a stampede would prove nothing.
        Way::Naive => assert!(cost.most > 1 && line.mean > 1.0, "{scenario}: {line:?}"),
    }
}
