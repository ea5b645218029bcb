//! A customer: one per principal.

use crate::{CustomerId, InvalidText, Version, parse_text};

/// What an e-mail can be sent to. The identity provider verified that it exists; here only its
/// shape matters: one `@`, no space or control character, at most 254 bytes (RFC 5321).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    pub fn parse(raw: &str) -> Result<EmailAddress, InvalidText> {
        let rule = InvalidText("an e-mail address has one @ with text on both sides, at most 254 bytes");
        let (local, domain) = raw.split_once('@').ok_or(rule)?;
        let plain = raw.chars().all(|c| c.is_ascii_graphic());
        if local.is_empty() || domain.is_empty() || domain.contains('@') || raw.len() > 254 || !plain {
            return Err(rule);
        }
        Ok(EmailAddress(raw.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a customer is addressed: 1 to 100 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonName(String);

impl PersonName {
    pub fn parse(raw: &str) -> Result<PersonName, InvalidText> {
        parse_text(raw, 100, "a name is 1 to 100 characters").map(PersonName)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A registered customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    pub id: CustomerId,
    /// `<source>:<id>`, as the gateway asserted it.
    pub principal: String,
    pub email: EmailAddress,
    pub name: PersonName,
    pub version: Version,
}

impl Customer {
    pub fn register(id: CustomerId, principal: String, email: EmailAddress, name: PersonName) -> Customer {
        Customer {
            id,
            principal,
            email,
            name,
            version: Version::FIRST,
        }
    }
}
