use identity::Caller;
use reqwest::StatusCode;
use serde_json::json;

use crate::shop::{Shop, caller, shopper};

#[tokio::test]
async fn a_caller_registers_once_with_the_address_of_the_token() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let reply = shop
        .post(&ada, "/v1/customers", json!({"name": " Ada "}))
        .await
        .expect(StatusCode::CREATED);
    let id = reply.id();
    let expected = json!({"id": id, "email": "ada@example.com", "name": "Ada", "version": 1});
    assert_eq!(reply.body, expected);
    assert_eq!(reply.header("location"), format!("/v1/customers/{id}"));
    assert_eq!(shop.get(&ada, reply.header("location")).await.body, expected);

    let again = shop.post(&ada, "/v1/customers", json!({"name": "Ada"})).await;
    again.expect_problem(409, "already-registered");
    assert_eq!(shop.history(&id).await, ["customer.registered@1"]);
    let fact = &shop.facts().await[0];
    assert_eq!(
        (fact.actor.as_str(), &fact.payload()["principal"]),
        ("main:ada", &json!("main:ada"))
    );
    shop.check_facts().await;
}

#[tokio::test]
async fn concurrent_registrations_of_one_caller_make_one_customer() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let attempts = (0..8).map(|_| shop.post(&ada, "/v1/customers", json!({"name": "Ada"})));
    let replies = futures_util::future::join_all(attempts).await;
    let created = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::CREATED)
        .count();
    let refused = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::CONFLICT)
        .count();
    assert_eq!((created, refused), (1, 7));
    shop.check_facts().await;
}

#[tokio::test]
async fn the_same_id_from_two_sources_is_two_strangers() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let id = shop.register(&ada).await;
    let other = Caller {
        principal: "keys:ada".to_owned(),
        ..ada
    };
    shop.get(&other, &format!("/v1/customers/{id}"))
        .await
        .expect_problem(404, "not-found");
    assert_ne!(shop.register(&other).await, id);
}

#[tokio::test]
async fn without_a_verified_address_there_is_no_registration() {
    let shop = Shop::open().await;
    for email in [None, Some("no address".to_owned())] {
        let ada = Caller {
            email,
            ..caller("ada", &["customers:write"])
        };
        let reply = shop.post(&ada, "/v1/customers", json!({"name": "Ada"})).await;
        reply.expect_problem(403, "email-not-verified");
    }
}
