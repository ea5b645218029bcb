use identity::Caller;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{Shop, answer, merchandiser};

const HIT: &str = "plumbline; hit";

#[tokio::test]
async fn a_new_product_has_a_place_a_version_and_two_facts() {
    let shop = Shop::open().await;
    let new = json!({"sku": "MUG-1", "name": " Mug ", "description": "blue\nround", "price_minor": 1250, "currency": "EUR", "quantity": 3});
    let reply = shop
        .post(&merchandiser(), "/v1/products", new)
        .await
        .expect(StatusCode::CREATED);
    let id = reply.id();
    let expected = json!({
        "id": id, "sku": "MUG-1", "name": "Mug", "description": "blue\nround", "price_minor": 1250, "currency": "EUR",
        "status": "active", "availability": "in_stock", "version": 1,
    });
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("location"), format!("/v1/products/{id}"));
    assert_eq!(reply.header("etag"), "\"1-1\"");
    assert_eq!(
        shop.get(&Caller::anonymous(), reply.header("location"))
            .await
            .body,
        expected
    );

    let facts = shop.facts().await;
    assert_eq!(shop.history(&id).await, ["product.created@1", "stock.adjusted@1"]);
    assert_eq!(facts[0].payload(), expected);
    let stated =
        json!({"product_id": id, "quantity": 3, "version": 1, "previous_quantity": 0, "cause": "manual"});
    assert_eq!(facts[1].payload(), stated);
    assert!(facts.iter().all(|fact| fact.actor == "main:merchandiser"));
}

#[tokio::test]
async fn a_sku_is_taken_once() {
    let shop = Shop::open().await;
    shop.product(1, json!({"sku": "MUG-1"})).await;
    let again = json!({"sku": "MUG-1", "name": "Cup", "price_minor": 1, "currency": "EUR"});
    let reply = shop.post(&merchandiser(), "/v1/products", again).await;
    reply.expect_problem(409, "sku-taken");
    assert_eq!(shop.facts().await.len(), 2);
}

#[tokio::test]
async fn the_second_read_is_a_hit_and_an_edit_is_visible_to_the_next_read() {
    let shop = Shop::open().await;
    let id = shop.product(1, json!({})).await;
    let path = format!("/v1/products/{id}");
    let read = async || shop.get(&Caller::anonymous(), &path).await.expect(StatusCode::OK);

    assert_eq!(read().await.header("cache-status"), "plumbline; fwd=miss; stored");
    let hit = read().await;
    assert_eq!(hit.header("cache-status"), HIT);
    assert_eq!(hit.header("etag"), "\"1-1\"");
    assert_eq!(hit.header("content-type"), "application/json");

    for (version, price) in (2..).zip([1300, 1400, 1500]) {
        let edited = shop
            .patch(&merchandiser(), &path, json!({"price_minor": price}))
            .await;
        assert_eq!(edited.expect(StatusCode::OK).body["version"], version);
        let read = read().await;
        assert_eq!(
            (&read.body["price_minor"], &read.body["version"]),
            (&json!(price), &json!(version))
        );
        assert_eq!(read.header("etag"), format!("\"1-{version}\""));
    }
    assert_eq!(read().await.header("cache-status"), HIT);
    shop.check_facts().await;
}

#[tokio::test]
async fn an_edit_states_what_changed_and_one_that_changes_nothing_states_nothing() {
    let shop = Shop::open().await;
    let id = shop.product(1, json!({"description": "blue"})).await;
    let path = format!("/v1/products/{id}");
    let edit = async |body: Value| {
        shop.patch(&merchandiser(), &path, body)
            .await
            .expect(StatusCode::OK)
    };

    edit(json!({"name": "Cup", "price_minor": 900})).await;
    assert_eq!(edit(json!({"name": "Cup"})).await.body["version"], 2);
    assert_eq!(edit(json!({})).await.body["version"], 2);
    assert_eq!(
        shop.history(&id).await,
        ["product.created@1", "stock.adjusted@1", "product.changed@2"]
    );
    let changed = shop.facts().await.pop().unwrap().payload();
    assert_eq!(changed["previous"], json!({"name": "Mug", "price_minor": 1250}));
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("Cup"), &json!("blue"))
    );
}

#[tokio::test]
async fn a_discontinued_product_stays_so_and_a_published_one_is_no_draft_again() {
    let shop = Shop::open().await;
    let id = shop.product(1, json!({})).await;
    let path = format!("/v1/products/{id}");
    let edit = async |body: Value| shop.patch(&merchandiser(), &path, body).await;

    edit(json!({"status": "draft"}))
        .await
        .expect_problem(409, "product-published");
    edit(json!({"status": "discontinued", "name": "Last mug"}))
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        shop.history(&id).await,
        ["product.created@1", "stock.adjusted@1", "product.discontinued@2"]
    );
    let discontinued = shop.facts().await.pop().unwrap().payload();
    assert_eq!(
        discontinued["previous"],
        json!({"name": "Mug", "status": "active"})
    );
    edit(json!({"name": "Cup"}))
        .await
        .expect_problem(409, "product-discontinued");
    shop.get(&Caller::anonymous(), &path)
        .await
        .expect_problem(404, "not-found");
    shop.check_facts().await;
}

#[tokio::test]
async fn a_draft_is_seen_by_merchandisers_only_also_through_the_cache() {
    let shop = Shop::open().await;
    let id = shop.product(1, json!({"status": "draft"})).await;
    let path = format!("/v1/products/{id}");
    for _ in 0..2 {
        shop.get(&Caller::anonymous(), &path)
            .await
            .expect_problem(404, "not-found");
        shop.get(&merchandiser(), &path).await.expect(StatusCode::OK);
    }
    assert_eq!(shop.get(&merchandiser(), &path).await.header("cache-status"), HIT);

    shop.patch(&merchandiser(), &path, json!({"status": "active"}))
        .await
        .expect(StatusCode::OK);
    shop.get(&Caller::anonymous(), &path).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn facts_are_in_the_trace_of_their_request_sampled_or_not() {
    let shop = Shop::open().await;
    for (number, flags) in ["00", "01"].into_iter().enumerate() {
        let trace = format!("0af7651916cd43dd8448eb211c80319{number}");
        let new = json!({"sku": format!("MUG-{number}"), "name": "Mug", "price_minor": 1250, "currency": "EUR", "quantity": 3});
        let request = shop
            .request(&merchandiser(), Method::POST, "/v1/products")
            .header("traceparent", format!("00-{trace}-b7ad6b7169203331-{flags}"));
        let id = answer(request.json(&new)).await.expect(StatusCode::CREATED).id();
        let facts = shop.facts().await;
        let traceparents: Vec<&str> = facts
            .iter()
            .filter(|fact| fact.aggregate_id.to_string() == id)
            .map(|fact| fact.traceparent.as_deref().unwrap())
            .collect();
        assert_eq!(traceparents.len(), 2, "{facts:?}");
        for traceparent in traceparents {
            assert!(traceparent.starts_with(&format!("00-{trace}-")), "{traceparent}");
            assert!(traceparent.ends_with(flags), "{traceparent}");
        }
    }
}
