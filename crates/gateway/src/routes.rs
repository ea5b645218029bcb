//! What exists: a table from method and path to a route.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};

use crate::limit::Quota;
use crate::refusal::Refusal;
use crate::sanity::Sane;

/// One line of the table.
#[derive(Debug)]
pub struct Route {
    /// Its name in logs.
    pub id: String,
    pub methods: Vec<Method>,
    pub path: Template,
    pub auth: Auth,
    /// Instead of the limit that all routes share.
    pub limit: Option<Quota>,
    /// From the moment the whole request is here to the last byte of the answer.
    pub timeout: Duration,
    /// The longest request body, in bytes.
    pub body_max: usize,
}

/// Who may use a route.
#[derive(Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody. A token that is sent is verified nevertheless.
    Anonymous,
    /// Callers with a valid token that holds all of these scopes.
    Token { scopes: Vec<String> },
}

/// A path in which `{name}` stands for any one segment.
#[derive(Debug)]
pub struct Template {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

impl Template {
    /// The template written as `text`, unless that is not one.
    pub fn parse(text: &str) -> Option<Template> {
        let segments = text.strip_prefix('/')?.split('/').map(Segment::parse);
        Some(Template {
            text: text.to_owned(),
            segments: segments.collect::<Option<_>>()?,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/').skip(1);
        self.segments.iter().all(|segment| match (segment, given.next()) {
            (Segment::Literal(literal), Some(given)) => literal == given,
            (Segment::Any, Some(_)) => true,
            (_, None) => false,
        }) && given.next().is_none()
    }

    /// Whether a path exists that both match.
    fn overlaps(&self, other: &Template) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(one), Segment::Literal(other)) => one == other,
                _ => true,
            })
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Segment> {
        let is_name = |text: &str, extra: &[u8]| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
            !text.is_empty() && text.bytes().all(letter)
        };
        match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => is_name(name, b"_").then_some(Segment::Any),
            None if matches!(text, "." | "..") => None,
            None => is_name(text, b"-._~").then(|| Segment::Literal(text.to_owned())),
        }
    }
}

/// All routes. No request matches two of them.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Arc<Route>>,
}

impl Routes {
    /// The table of `routes`, or a line for each pair of them that could answer the same request.
    pub fn new(routes: Vec<Route>) -> Result<Routes, Vec<String>> {
        let mut conflicts = Vec::new();
        for (index, one) in routes.iter().enumerate() {
            for other in &routes[..index] {
                let method = one.methods.iter().find(|method| other.methods.contains(method));
                if let Some(method) = method.filter(|_| one.path.overlaps(&other.path)) {
                    conflicts.push(format!(
                        "route {}: `path` {} can match the same {method} request as {} of route {}",
                        one.id, one.path.text, other.path.text, other.id
                    ));
                }
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        Ok(Routes {
            routes: routes.into_iter().map(Arc::new).collect(),
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(Arc::as_ref)
    }

    pub(crate) fn find(&self, head: &Sane) -> Result<&Arc<Route>, Refusal> {
        let mut allowed: Vec<&str> = Vec::new();
        for route in self.routes.iter().filter(|route| route.path.matches(head.path())) {
            if route.methods.contains(head.method()) {
                return Ok(route);
            }
            allowed.extend(route.methods.iter().map(Method::as_str));
        }
        match HeaderValue::try_from(allowed.join(", ")) {
            Ok(allow) if !allowed.is_empty() => Err(Refusal::MethodNotAllowed(allow)),
            _ => Err(Refusal::NotFound),
        }
    }
}
