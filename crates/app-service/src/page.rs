//! Pages of listings, and the cursors that lead from one to the next.
//!
//! A listing is sorted by id, and a page begins behind the last id of the one before: rows that are added meanwhile
//! shift nothing, and whatever was there when the first page was read is seen once. A cursor is base64url over a
//! version, a hash of what was asked for, and that id. It says where to go on and never what may be seen: each page is
//! read with the rights of whoever asks for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fields::Fields;

/// Of the cursors that this release makes and takes.
const VERSION: u8 = 1;
const HASH: usize = 8;
const LENGTH: usize = 1 + HASH + 16;

const USUAL: i64 = 20;
const MOST: i64 = 100;

/// What is listed and how it is filtered. A cursor fits no other listing.
pub(crate) struct Listing([u8; HASH]);

/// Why a cursor leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidCursor {
    #[error("it is no cursor; send `next` of the page before as it is, or begin without one")]
    Malformed,
    #[error("it was made by another version of this API; begin without one")]
    OtherVersion,
    #[error(
        "it belongs to another listing; repeat the parameters of the page that it came with, or begin without one"
    )]
    OtherListing,
}

impl Listing {
    /// `filters` in a fixed order, those that were left out included.
    pub(crate) fn of(name: &str, filters: &[&str]) -> Listing {
        let mut hash = Sha256::new();
        for part in [name].iter().chain(filters) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut short = [0; HASH];
        short.copy_from_slice(&hash.finalize()[..HASH]);
        Listing(short)
    }

    fn cursor(&self, last: Uuid) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend(self.0);
        bytes.extend(last.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn position(&self, cursor: &str) -> Result<Uuid, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD
            .decode(cursor)
            .map_err(|_| InvalidCursor::Malformed)?;
        match bytes.split_first() {
            Some((&VERSION, rest)) if bytes.len() == LENGTH => {
                let (hash, id) = rest.split_at(HASH);
                if hash != self.0 {
                    return Err(InvalidCursor::OtherListing);
                }
                Uuid::from_slice(id).map_err(|_| InvalidCursor::Malformed)
            }
            None | Some((&VERSION, _)) => Err(InvalidCursor::Malformed),
            Some(_) => Err(InvalidCursor::OtherVersion),
        }
    }
}

/// A page that is asked for.
pub(crate) struct Page {
    listing: Listing,
    limit: i64,
    after: Option<Uuid>,
}

impl Page {
    /// What is wrong with the parameters `limit` (1 to 100, 20 when left out) and `cursor` is noted in `fields`.
    pub(crate) fn of(
        listing: Listing,
        limit: Option<i64>,
        cursor: Option<&str>,
        fields: &mut Fields,
    ) -> Page {
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            fields.refuse("limit", format_args!("a limit is 1 to {MOST}"));
        }
        let after = cursor.map(|cursor| listing.position(cursor)).transpose();
        let after = fields.check("cursor", after).flatten();
        Page {
            listing,
            limit,
            after,
        }
    }

    /// The last id of the page before.
    pub(crate) fn after(&self) -> Option<Uuid> {
        self.after
    }

    /// How many rows to look for: one more than are shown tells whether there is a next page.
    pub(crate) fn wanted(&self) -> i64 {
        self.limit + 1
    }

    /// Of the rows that were found, those that are shown, and the cursor of the next page.
    pub(crate) fn cut<'r, T>(&self, found: &'r [T], id: impl Fn(&T) -> Uuid) -> (&'r [T], Option<String>) {
        let limit = usize::try_from(self.limit).unwrap_or_default();
        if found.len() <= limit {
            return (found, None);
        }
        let shown = &found[..limit];
        (shown, shown.last().map(|last| self.listing.cursor(id(last))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_its_place_in_its_own_listing_only() {
        let listing = |filters: &[&str]| Listing::of("products", filters);
        let id = Uuid::from_u128(7);
        let cursor = listing(&["active", ""]).cursor(id);
        assert_eq!(cursor.len(), 34);
        assert_eq!(listing(&["active", ""]).position(&cursor), Ok(id));
        for other in [
            listing(&["draft", ""]),
            listing(&["", "active"]),
            listing(&["active"]),
            Listing::of("orders", &["active", ""]),
        ] {
            assert_eq!(other.position(&cursor), Err(InvalidCursor::OtherListing));
        }
    }

    #[test]
    fn what_is_no_cursor_of_this_version_is_told_apart() {
        let listing = Listing::of("products", &[]);
        let cursor = listing.cursor(Uuid::from_u128(7));
        let mut newer = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        newer[0] = 2;
        for (text, why) in [
            (URL_SAFE_NO_PAD.encode(newer), InvalidCursor::OtherVersion),
            (String::new(), InvalidCursor::Malformed),
            ("7".to_owned(), InvalidCursor::Malformed),
            (format!("{cursor}="), InvalidCursor::Malformed),
            (cursor[..cursor.len() - 4].to_owned(), InvalidCursor::Malformed),
            ("💥".to_owned(), InvalidCursor::Malformed),
        ] {
            assert_eq!(listing.position(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_page_shows_its_limit_and_leads_on_only_when_there_is_more() {
        let mut fields = Fields::of_query();
        let page = Page::of(Listing::of("numbers", &[]), Some(2), None, &mut fields);
        let rows: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        assert_eq!(page.cut(&rows[..2], |id| *id), (&rows[..2], None));
        let (shown, next) = page.cut(&rows, |id| *id);
        assert_eq!(shown, &rows[..2]);
        let next = Page::of(Listing::of("numbers", &[]), Some(2), next.as_deref(), &mut fields);
        assert_eq!(next.after(), Some(rows[1]));
        fields.finish().unwrap();
    }
}
