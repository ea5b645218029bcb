use std::fmt::Display;

use crate::Problem;

/// A type of problem. What a client programs against is the slug, which never changes once clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub status: u16,
    /// Ends the type's URN, `urn:plumbline:problem:<slug>`.
    pub slug: &'static str,
    /// The same for every problem of this type.
    pub title: &'static str,
    /// For the documentation: which requests get it.
    pub when: &'static str,
    /// What a client does about it; a clause, because it also ends details.
    pub remedy: &'static str,
}

impl Kind {
    /// With the remedy as its detail.
    pub fn problem(&self) -> Problem {
        Problem::new(self.status, self.slug, self.title).detail(self.remedy)
    }

    /// With a reason that is known, and the remedy.
    pub fn because(&self, reason: impl Display) -> Problem {
        Problem::new(self.status, self.slug, self.title).detail(format!("{reason}; {}", self.remedy))
    }

    /// Its row in `docs/problems.md`, with a line break.
    pub fn row(&self) -> String {
        let Kind {
            status,
            slug,
            title,
            when,
            remedy,
        } = self;
        format!("| `{slug}` | {status} | {title} | {when} | {remedy} |\n")
    }
}

/// Lists a process's types of problems: a constant for each, and `ALL` in the order of the documentation.
#[macro_export]
macro_rules! kinds {
    (
        $(#[$all:meta])* ALL;
        $($name:ident = $status:literal $slug:literal $title:literal, when $when:literal, remedy $remedy:literal;)*
    ) => {
        $(pub(crate) const $name: $crate::Kind = $crate::Kind {
            status: $status,
            slug: $slug,
            title: $title,
            when: $when,
            remedy: $remedy,
        };)*

        /// In the order of the documentation.
        $(#[$all])*
        pub(crate) const ALL: &[$crate::Kind] = &[$($name),*];
    };
}
