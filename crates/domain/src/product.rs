//! A product of the catalogue. How many there are is [`crate::Stock`]'s business; the product
//! only knows whether there are any, and so changes only when that does.

use std::str::FromStr;

use crate::{InvalidText, Money, ProductId, Version, parse_text};

/// A stock-keeping unit: 1 to 40 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sku(String);

impl Sku {
    pub fn parse(raw: &str) -> Result<Sku, InvalidText> {
        let plain = raw
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if raw.is_empty() || raw.len() > 40 || !plain {
            return Err(InvalidText("a sku is 1 to 40 of A-Z a-z 0-9 . _ -"));
        }
        Ok(Sku(raw.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a product stands in its life. Discontinued is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductStatus {
    Draft,
    Active,
    Discontinued,
}

impl ProductStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ProductStatus::Draft => "draft",
            ProductStatus::Active => "active",
            ProductStatus::Discontinued => "discontinued",
        }
    }
}

impl FromStr for ProductStatus {
    type Err = InvalidText;

    fn from_str(raw: &str) -> Result<ProductStatus, InvalidText> {
        match raw {
            "draft" => Ok(ProductStatus::Draft),
            "active" => Ok(ProductStatus::Active),
            "discontinued" => Ok(ProductStatus::Discontinued),
            _ => Err(InvalidText("a product's status is draft, active or discontinued")),
        }
    }
}

/// Whether anything is left to sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    InStock,
    SoldOut,
}

impl Availability {
    pub fn of(quantity: i64) -> Availability {
        if quantity > 0 {
            Availability::InStock
        } else {
            Availability::SoldOut
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Availability::InStock => "in_stock",
            Availability::SoldOut => "sold_out",
        }
    }
}

impl FromStr for Availability {
    type Err = InvalidText;

    fn from_str(raw: &str) -> Result<Availability, InvalidText> {
        match raw {
            "in_stock" => Ok(Availability::InStock),
            "sold_out" => Ok(Availability::SoldOut),
            _ => Err(InvalidText("an availability is in_stock or sold_out")),
        }
    }
}

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub sku: Sku,
    pub name: String,
    pub description: String,
    pub price: Money,
    pub status: ProductStatus,
    pub availability: Availability,
    pub version: Version,
}

/// What a PATCH may change; `None` leaves the field alone.
#[derive(Debug, Clone, Default)]
pub struct ProductEdit {
    pub name: Option<String>,
    pub description: Option<String>,
    pub price_minor: Option<i64>,
    pub status: Option<ProductStatus>,
}

/// Why a product stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProductRefusal {
    #[error("a discontinued product does not change any more")]
    Discontinued,
    #[error("an active product does not become a draft again")]
    BackToDraft,
    #[error("{0}")]
    Price(#[from] crate::MoneyError),
}

impl Product {
    /// 1 to 200 characters.
    pub fn parse_name(raw: &str) -> Result<String, InvalidText> {
        parse_text(raw, 200, "a product's name is 1 to 200 characters")
    }

    /// Up to 5,000 characters; line breaks allowed, other control characters not.
    pub fn parse_description(raw: &str) -> Result<String, InvalidText> {
        let odd = |c: char| c.is_control() && c != '\n';
        if raw.chars().count() > 5_000 || raw.chars().any(odd) {
            return Err(InvalidText(
                "a description is at most 5,000 characters without control characters",
            ));
        }
        Ok(raw.to_owned())
    }

    /// The edited product, or `None` when the edit changes nothing (no version, no event).
    pub fn edit(&self, edit: ProductEdit) -> Result<Option<Product>, ProductRefusal> {
        let mut next = self.clone();
        if let Some(name) = edit.name {
            next.name = name;
        }
        if let Some(description) = edit.description {
            next.description = description;
        }
        if let Some(minor) = edit.price_minor {
            next.price = Money::new(minor, self.price.currency())?;
        }
        if let Some(status) = edit.status {
            next.status = status;
        }
        if next == *self {
            return Ok(None);
        }
        match (self.status, next.status) {
            (ProductStatus::Discontinued, _) => Err(ProductRefusal::Discontinued),
            (ProductStatus::Active, ProductStatus::Draft) => Err(ProductRefusal::BackToDraft),
            _ => {
                next.version = self.version.next();
                Ok(Some(next))
            }
        }
    }

    /// The product after its stock reached `quantity`, or `None` when its availability stays.
    pub fn with_stock(&self, quantity: i64) -> Option<Product> {
        let availability = Availability::of(quantity);
        (availability != self.availability).then(|| Product {
            availability,
            version: self.version.next(),
            ..self.clone()
        })
    }
}
