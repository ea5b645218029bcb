//! The route file: TOML in, [`Routes`] and limits out, or everything that is wrong with it at once.

use std::fmt;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::limit::Quota;
use crate::routes::{Auth, Route, Routes, Template};

/// The only upstream there is; its endpoints come from the environment.
const UPSTREAM: &str = "app";
/// Request bodies are held in memory.
const MOST_BODY: usize = 1024 * 1024;
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// What a route file says.
#[derive(Debug)]
pub struct RouteFile {
    pub routes: Routes,
    /// For each client address.
    pub address_limit: Quota,
    /// For each principal, over all routes without a limit of their own.
    pub principal_limit: Quota,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    address_limit: RawLimit,
    principal_limit: RawLimit,
    #[serde(default, rename = "route")]
    routes: Vec<RawRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    id: String,
    methods: Vec<String>,
    path: String,
    upstream: String,
    auth: Option<RawAuth>,
    limit: Option<RawLimit>,
    timeout: String,
    body_max: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    rate: u32,
    per: String,
    burst: u32,
}

enum RawAuth {
    Anonymous,
    Jwt(RawJwt),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJwt {
    jwt: String,
    #[serde(default)]
    scopes: Vec<String>,
}

impl<'de> Deserialize<'de> for RawAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawAuth, D::Error> {
        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = RawAuth;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str(r#"`auth` to be "anonymous" or { jwt = "…", scopes = […] }"#)
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RawAuth, E> {
                match word {
                    "anonymous" => Ok(RawAuth::Anonymous),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RawAuth, A::Error> {
                RawJwt::deserialize(MapAccessDeserializer::new(table)).map(RawAuth::Jwt)
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}

impl RouteFile {
    /// Reads `text`, in which `jwt` may name `issuer` alone. Fails with one line for each thing that is wrong, which
    /// names the route and the field.
    pub fn parse(text: &str, issuer: &str) -> Result<RouteFile, Vec<String>> {
        RouteFile::read(text, |named| named == issuer)
    }

    /// Whether `text` is right whoever the issuer is.
    pub fn check(text: &str) -> Result<(), Vec<String>> {
        RouteFile::read(text, |_| true).map(drop)
    }

    fn read(text: &str, is_issuer: impl Fn(&str) -> bool) -> Result<RouteFile, Vec<String>> {
        let raw: RawFile = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        let mut wrong = Vec::new();
        let mut global = |name: &str, limit: &RawLimit| {
            quota(limit)
                .map_err(|reason| wrong.push(format!("{name}: {reason}")))
                .ok()
        };
        let address_limit = global("address_limit", &raw.address_limit);
        let principal_limit = global("principal_limit", &raw.principal_limit);
        if raw.routes.is_empty() {
            wrong.push("there is no [[route]]".to_owned());
        }
        let mut routes: Vec<Route> = Vec::new();
        for raw in raw.routes {
            let id = raw.id.clone();
            if routes.iter().any(|route| route.id == id) {
                wrong.push(format!("route {id}: `id` is used twice"));
            }
            match route(raw, &is_issuer) {
                Ok(route) => routes.push(route),
                Err(reasons) => {
                    wrong.extend(reasons.into_iter().map(|reason| format!("route {id}: {reason}")));
                }
            }
        }
        let routes = Routes::new(routes)
            .map_err(|conflicts| wrong.extend(conflicts))
            .ok();
        match (address_limit, principal_limit, routes) {
            (Some(address_limit), Some(principal_limit), Some(routes)) if wrong.is_empty() => Ok(RouteFile {
                routes,
                address_limit,
                principal_limit,
            }),
            _ => Err(wrong),
        }
    }
}

/// The route that `raw` describes, or all that is wrong with it.
fn route(raw: RawRoute, is_issuer: &impl Fn(&str) -> bool) -> Result<Route, Vec<String>> {
    let mut wrong = Vec::new();
    let auth = auth(&raw, is_issuer).map_err(|reason| wrong.push(reason)).ok();
    let limit = raw.limit.as_ref().map(quota).transpose();
    let limit = limit
        .map_err(|reason| wrong.push(format!("`limit`: {reason}")))
        .ok();
    let methods = methods(&raw.methods).map_err(|reason| wrong.push(reason)).ok();
    let timeout = timeout(&raw.timeout).map_err(|reason| wrong.push(reason)).ok();
    let body_max = raw.body_max.as_deref().map_or(Ok(0), body_max);
    let body_max = body_max.map_err(|reason| wrong.push(reason)).ok();
    let path = Template::parse(&raw.path);
    if path.is_none() {
        wrong.push(format!(
            "`path` {:?} is not a path of literal segments and {{names}}",
            raw.path
        ));
    }
    if raw.upstream != UPSTREAM {
        wrong.push(format!(
            "`upstream` {:?} does not exist, only {UPSTREAM:?} does",
            raw.upstream
        ));
    }
    if raw.id.is_empty() || !raw.id.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong.push("`id` must be visible ASCII".to_owned());
    }
    match (auth, limit, methods, timeout, body_max, path) {
        (Some(auth), Some(limit), Some(methods), Some(timeout), Some(body_max), Some(path))
            if wrong.is_empty() =>
        {
            Ok(Route {
                id: raw.id,
                methods,
                path,
                auth,
                limit,
                timeout,
                body_max,
            })
        }
        _ => Err(wrong),
    }
}

fn auth(raw: &RawRoute, is_issuer: &impl Fn(&str) -> bool) -> Result<Auth, String> {
    match &raw.auth {
        None => Err(r#"`auth` is missing; "anonymous" lets everybody in"#.to_owned()),
        Some(RawAuth::Anonymous) if raw.limit.is_some() => Err(
            "`limit` counts principals, and an anonymous caller has none; address_limit holds here"
                .to_owned(),
        ),
        Some(RawAuth::Anonymous) => Ok(Auth::Anonymous),
        Some(RawAuth::Jwt(jwt)) if !is_issuer(&jwt.jwt) => Err(format!(
            "`auth.jwt` {:?} is not the configured issuer (JWT_SOURCE)",
            jwt.jwt
        )),
        Some(RawAuth::Jwt(jwt)) => {
            let is_scope = |scope: &String| {
                !scope.is_empty()
                    && scope
                        .bytes()
                        .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
            };
            match jwt.scopes.iter().find(|scope| !is_scope(scope)) {
                Some(scope) => Err(format!("`auth.scopes` holds {scope:?}, which is no scope")),
                None => Ok(Auth::Token {
                    scopes: jwt.scopes.clone(),
                }),
            }
        }
    }
}

fn quota(raw: &RawLimit) -> Result<Quota, String> {
    let per = humantime::parse_duration(&raw.per).map_err(|error| format!("`per`: {error}"))?;
    Quota::new(raw.rate, per, raw.burst)
        .ok_or_else(|| "`rate` and `burst` go from 1 to 1000000, `per` from 1ms to 1h".to_owned())
}

fn methods(raw: &[String]) -> Result<Vec<Method>, String> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    if raw.is_empty() {
        return Err("`methods` is empty".to_owned());
    }
    let method = |name: &String| match name.parse() {
        Ok(method) if known.contains(&name.as_str()) => Ok(method),
        _ => Err(format!(
            "`methods` holds {name:?}, which is none of {}",
            known.join(" ")
        )),
    };
    raw.iter().map(method).collect()
}

fn timeout(raw: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(raw).map_err(|error| format!("`timeout`: {error}"))?;
    TIMEOUTS
        .contains(&timeout)
        .then_some(timeout)
        .ok_or_else(|| format!("`timeout` {raw} is not between 10ms and 60s"))
}

fn body_max(raw: &str) -> Result<usize, String> {
    let digits = raw.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let factor = match &raw[digits.len()..] {
        "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    factor
        .and_then(|factor| digits.parse::<usize>().ok()?.checked_mul(factor))
        .filter(|bytes| *bytes <= MOST_BODY)
        .ok_or_else(|| format!("`body_max` {raw:?} is not a size up to 1MiB, like \"64KiB\""))
}
