/// The principal of a caller without a token.
const ANONYMOUS: &str = "anonymous";

/// The most characters that a `sub` may have.
const MAX_ID: usize = 200;

/// Somebody whose token has been verified, or nobody ([`Caller::anonymous`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// `<source>:<id>`, where the source names the issuer and the id is its `sub`; or `anonymous`.
    pub principal: String,
    /// What the caller may do, as the token's `scope` lists it.
    pub scopes: Vec<String>,
    /// An address that the issuer has verified. Personal data: it belongs in no log.
    pub email: Option<String>,
    /// When the token that proved this ends, in Unix seconds.
    pub expires_at: i64,
}

impl Caller {
    /// A caller who showed no token and may do what everybody may.
    pub fn anonymous() -> Caller {
        Caller {
            principal: ANONYMOUS.to_owned(),
            scopes: Vec::new(),
            email: None,
            expires_at: i64::MAX,
        }
    }

    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope)
    }

    pub fn is_anonymous(&self) -> bool {
        self.principal == ANONYMOUS
    }
}

/// Whether `name` can be the source of principals: `[a-z][a-z0-9-]{0,15}`, and none of the names that the system
/// itself uses as actors.
pub(crate) fn is_source(name: &str) -> bool {
    name.len() <= 16
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name != "system"
        && name != ANONYMOUS
}

/// Whether `sub` can be the id of a principal: 1 to 200 visible ASCII characters, so that it can stand in a header, a
/// log and a key as it is.
pub(crate) fn is_id(sub: &str) -> bool {
    (1..=MAX_ID).contains(&sub.len()) && sub.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether `principal` is one that the gateway can have minted.
pub(crate) fn is_principal(principal: &str) -> bool {
    principal == ANONYMOUS
        || principal
            .split_once(':')
            .is_some_and(|(source, id)| is_source(source) && is_id(id))
}
