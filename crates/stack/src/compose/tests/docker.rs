//! What is asked of `docker`, and what its answers lead to.

use std::path::Path;
use std::time::Duration;

use super::script;
use crate::compose::Compose;

/// A stand-in for `docker` that does `body` after it has written its arguments down.
fn docker(dir: &Path, body: &str) -> Compose {
    let program = dir.join("docker");
    script(
        &program,
        &format!("echo \"$@\" >>'{}'\n{body}", dir.join("calls").display()),
    );
    Compose {
        docker: program,
        root: "/shop".into(),
    }
}

fn calls(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("calls")).unwrap_or_default()
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_engine_is_used_only_when_compose_and_the_engine_answer() {
    let check = async |body: &str, limit: Duration, expected: bool| {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(docker(dir.path(), body).answers(limit).await, expected, "{body}");
    };
    check("exit 0", LONG, true).await;
    check("[ \"$1\" = info ] && exit 1; exit 0", LONG, false).await;
    check("[ \"$1\" = compose ] && exit 1; exit 0", LONG, false).await;
    // An engine that hangs is not waited for.
    check("exec sleep 60", Duration::from_millis(200), false).await;
    let nowhere = Compose {
        docker: "/no/docker".into(),
        root: "/shop".into(),
    };
    assert!(!nowhere.answers(LONG).await);
}

#[tokio::test]
async fn servers_are_started_by_name_and_removed_with_or_without_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let compose = docker(dir.path(), "exit 0");
    assert!(compose.started().await.unwrap());
    compose.stop().await.unwrap();
    compose.delete().await.unwrap();
    assert_eq!(
        calls(dir.path()),
        "compose --file /shop/docker-compose.yml up --detach --wait postgres redis kafka mailpit\n\
         compose --file /shop/docker-compose.yml down\n\
         compose --file /shop/docker-compose.yml down --volumes\n"
    );
}

#[tokio::test]
async fn containers_that_do_not_start_are_removed_so_that_native_servers_can() {
    let dir = tempfile::tempdir().unwrap();
    let compose = docker(dir.path(), "[ \"$4\" = up ] && exit 17; exit 0");
    assert!(!compose.started().await.unwrap());
    let calls = calls(dir.path());
    assert!(calls.ends_with("docker-compose.yml down\n"), "{calls}");
}
