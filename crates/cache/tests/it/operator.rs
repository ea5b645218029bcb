//! The commands of an operator.

use cache::Known;
use clap::Parser;
use uuid::Uuid;

use crate::server::Server;
use crate::shelf::{HIT, STORED, Shelf, found, read, version};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: cache::Command,
}

async fn run(server: &Server, arguments: &[&str]) -> String {
    let url = server.url();
    let (verb, rest) = arguments.split_first().unwrap();
    let line = ["test", verb, "--redis-url", &url]
        .into_iter()
        .chain(rest.iter().copied());
    let known = [Known::entries::<Shelf>("a UUID", |text| {
        Uuid::try_parse(text).is_ok()
    })];
    let command = Cli::try_parse_from(line).unwrap().command;
    command.run(&known).await.unwrap()
}

#[tokio::test]
async fn an_operator_sees_an_entry_and_makes_the_cache_forget_it() {
    let server = Server::start(&[]);
    let rows = Shelf::<1>::default();
    let shelf = rows.behind(&server.url()).await;
    let key = Uuid::now_v7();
    let id = key.to_string();
    assert!(
        run(&server, &["get", "shelf", &id])
            .await
            .contains("entry            none")
    );
    rows.put(key, 3, "mug");
    shelf.invalidate(&key, version(2)).await;
    read(&shelf, key).await;
    let text = run(&server, &["get", "shelf", &id]).await;
    for line in [
        "entry            present",
        "schema           1",
        "version          3",
        "size             3 bytes",
        "floor            2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }

    assert!(
        run(&server, &["invalidate", "shelf", &id])
            .await
            .starts_with("forgot")
    );
    assert_eq!(read(&shelf, key).await, found(3, "mug", STORED));
    let kept = run(&server, &["invalidate", "--below-version", "3", "shelf", &id]).await;
    assert!(kept.starts_with("applied"), "{kept}");
    assert_eq!(read(&shelf, key).await, found(3, "mug", HIT));
}
