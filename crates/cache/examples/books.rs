//! A few books through the cache: `cargo run -p cache --example books -- redis://127.0.0.1:6379`. Without a Redis there, the same is
//! answered by the source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use cache::{Cache, CacheArgs, LoadError, Loaded, Lookup, Policy, Source, Version};

/// Stands for a table: each row has a version, which every change raises.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<HashMap<u32, (i64, String)>>>);

impl Books {
    /// Commits a title, and returns the row's version.
    fn write(&self, id: u32, title: &str) -> anyhow::Result<Version> {
        let mut rows = self.0.lock().ok().context("a writer panicked")?;
        let version = rows.get(&id).map_or(1, |(version, _)| version + 1);
        rows.insert(id, (version, title.to_owned()));
        Ok(version.try_into()?)
    }
}

impl Source for Books {
    const NAMESPACE: &'static str = "book";
    const SCHEMA: u16 = 1;
    type Key = u32;

    async fn load(&self, id: &u32) -> Result<Option<Loaded>, LoadError> {
        println!("        (book {id} is loaded)");
        let rows = self.0.lock().ok().context("a writer panicked")?;
        let Some((version, title)) = rows.get(id) else {
            return Ok(None);
        };
        Ok(Some(Loaded {
            version: (*version).try_into()?,
            mark: 0,
            body: title.clone().into(),
        }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args()
        .nth(1)
        .context("which Redis? redis://host:port")?;
    let args = CacheArgs {
        // Each run begins with nothing, and nothing here publishes a watermark.
        cache_scope: format!("books-{}", std::process::id()),
        cache_staleness_bound: std::time::Duration::ZERO,
        ..CacheArgs::at(url)
    };
    let cache = Cache::start(&args, 4).await?;
    let rows = Books::default();
    let books = cache.namespace(rows.clone(), Policy::default())?;

    rows.write(1, "Emma")?;
    for id in [1, 1, 2, 2] {
        show(id, &books.get(&id).await?);
    }
    let version = rows.write(1, "Persuasion")?;
    // After the commit: from now on no reader anywhere is answered with what was before.
    books.invalidate(&1, version).await;
    for (id, book) in [1, 2].into_iter().zip(books.get_many(&[1, 2]).await?) {
        show(id, &book);
    }
    Ok(())
}

fn show(id: u32, book: &Lookup) {
    match book {
        Lookup::Found(book) => {
            let title = String::from_utf8_lossy(&book.body);
            println!("{id}: {title:12} {}", book.status.header_value("books"));
        }
        Lookup::Absent => println!("{id}: there is none"),
    }
}
