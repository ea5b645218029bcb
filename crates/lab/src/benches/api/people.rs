//! Who calls, and what they send.

use std::sync::Arc;

use bytes::Bytes;
use identity::Caller;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::round::Request;
use crate::benches::signer::Signer;

/// A caller with an assertion that holds for a minute.
#[derive(Clone)]
pub(super) struct Person {
    assertion: Arc<str>,
}

impl Person {
    /// Somebody of the issuer `main`, who may do everything that a scope allows.
    pub(super) fn staff(signer: &Signer) -> anyhow::Result<Person> {
        Person::new(
            signer,
            "lab-staff",
            "catalogue:write payments:record orders:fulfil orders:read:any customers:read:any",
        )
    }

    pub(super) fn customer(signer: &Signer, name: &str) -> anyhow::Result<Person> {
        Person::new(signer, name, "customers:write orders:write")
    }

    fn new(signer: &Signer, name: &str, scopes: &str) -> anyhow::Result<Person> {
        let caller = Caller {
            principal: format!("main:{name}"),
            scopes: scopes.split(' ').map(str::to_owned).collect(),
            email: Some(format!("{name}@example.com")),
            expires_at: i64::MAX,
        };
        Ok(Person {
            assertion: signer.assertion(&caller)?.into(),
        })
    }

    pub(super) fn get(&self, path: String) -> Request {
        Request {
            method: Method::GET,
            path,
            assertion: self.assertion.clone(),
            body: None,
            if_match: None,
            key: None,
        }
    }

    pub(super) fn post(&self, path: String, body: &Value) -> Request {
        Request {
            method: Method::POST,
            body: Some(Bytes::from(body.to_string())),
            key: Some(Uuid::now_v7().to_string()),
            ..self.get(path)
        }
    }

    /// Of a resource that has its first version.
    pub(super) fn patch_first(&self, path: String, body: &Value) -> Request {
        Request {
            method: Method::PATCH,
            body: Some(Bytes::from(body.to_string())),
            if_match: Some("\"1-1\"".to_owned()),
            ..self.get(path)
        }
    }
}

pub(crate) fn product(name: &str) -> Value {
    json!({
        "sku": name, "name": "A product of the lab", "description": "sold by the lab", "price_minor": 1250,
        "currency": "EUR", "quantity": 500_000, "status": "active",
    })
}

/// One to three of each of two products.
pub(super) fn order(products: &[String], number: usize) -> Value {
    let lines: Vec<Value> = (0..2)
        .map(|line| {
            let product = &products[(number + line * 7) % products.len()];
            json!({"product_id": product, "quantity": 1 + (number + line) % 3})
        })
        .collect();
    json!({"lines": lines})
}
