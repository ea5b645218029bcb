//! `app-service cache …`, as an operator calls it beside a running process.

use std::process::{Command, Output};

use identity::Caller;
use reqwest::StatusCode;
use serde_json::json;
use testkit::RedisServer;

use crate::shop::Shop;

fn cache(url: &str, scope: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_app-service"))
        .arg("cache")
        .args(arguments)
        .env_clear()
        .env("REDIS_URL", url)
        .env("CACHE_SCOPE", scope)
        // Its log goes where the answer goes.
        .env("RUST_LOG", "error")
        .output()
        .unwrap()
}

#[tokio::test]
async fn an_operator_sees_what_is_cached_and_makes_the_cache_forget_it() {
    let redis = RedisServer::start(&[]);
    let shop = Shop::open_with(&[("REDIS_URL", &redis.url())]).await;
    let scope = shop.database.name.clone();
    let run = |arguments: &[&str]| -> String {
        let output = cache(&redis.url(), &scope, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let status = async |path: &str| {
        let reply = shop.get(&Caller::anonymous(), path).await.expect(StatusCode::OK);
        reply.header("cache-status").to_owned()
    };
    let hits = async |path: &str| {
        testkit::eventually("it is a hit", async || {
            (status(path).await == "plumbline; hit").then_some(())
        })
        .await;
    };
    // What the tail invalidates once more meanwhile is not stored.
    let misses = async |path: &str| {
        let status = status(path).await;
        assert!(status.starts_with("plumbline; fwd=miss"), "{status}");
    };
    let id = shop.product(1, json!({})).await;
    let (product, listed) = (format!("/v1/products/{id}"), "/v1/products?limit=3");
    hits(&product).await;
    let entry = run(&["get", "product", &id]);
    for line in ["entry            present", "version          1"] {
        assert!(entry.contains(line), "{entry}");
    }
    assert!(run(&["invalidate", "product", &id]).starts_with("forgot "));
    assert!(run(&["get", "product", &id]).contains("entry            none"));
    misses(&product).await;

    hits(listed).await;
    assert_eq!(
        run(&["invalidate-list", "products"]),
        "forgot the pages of products\n"
    );
    misses(listed).await;
    assert!(run(&["get", "product", &id]).contains("entry            present"));
}

const ID: &str = "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a";

#[test]
fn an_operator_is_told_what_is_no_entry_or_no_list() {
    let upper = ID.to_uppercase();
    for (arguments, why) in [
        (
            &["get", "prodcut", ID][..],
            "there is no namespace 'prodcut'; there are product, products",
        ),
        (
            &["invalidate", "products", ID],
            "products is a list; see `invalidate-list`",
        ),
        (
            &["invalidate-list", "product"],
            "product is no list; see `invalidate`",
        ),
        (
            &["invalidate", "product", &upper],
            "C3A' is no key of product, which is a UUID in lower case with hyphens",
        ),
        (
            &["invalidate", "product", ID, "--below-version", "0"],
            "--below-version: ",
        ),
    ] {
        let output = cache("redis://127.0.0.1:1", "", arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn an_operator_is_told_that_redis_is_out_of_reach() {
    for arguments in [
        &["get", "product", ID][..],
        &["invalidate", "product", ID],
        &["invalidate-list", "products"],
    ] {
        let output = cache("redis://127.0.0.1:1", "", arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("Redis is unreachable"), "{said}");
    }
}
