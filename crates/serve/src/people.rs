//! The store of people: who they are and what they are answered through, in redb, in a file or in memory. A change is on the disk
//! when it is told to be done, and survives a program that is killed.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | a name | the version of this layout |
//! | `people` | model and name | [`Person`] as JSON, without what follows |
//! | `scopes` | the same | what the examples were about, in 8 bits |
//! | `extras` | the same | an adapter of one's own, or examples for the prompt |
//!
//! What is read for every question is small; extras are read by those who have any.
//!
//! A disk that is full, or fails otherwise, costs what was to be written then and nothing more: redb refuses everything after such a fault until
//! the file is opened again, which is done here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crayon_errors::describe;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::ServeError;
use crate::person::{Extra, Person, PersonScope};

const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");
const PEOPLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("people");
const SCOPES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("scopes");
const EXTRAS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("extras");

/// Version of the layout above.
const VERSION: &str = "1";
/// Memory for pages of a file.
const CACHE: usize = 16 << 20;

/// Everybody whose model is kept here.
#[derive(Clone, Debug)]
pub struct People {
    /// `None` where it could not be opened again after a fault.
    store: Arc<RwLock<Option<Database>>>,
    path: Option<PathBuf>,
}

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the store of people failed: {what}")]
pub(crate) struct StoreError {
    what: String,
    /// How the disk failed, if it did: now, or at an earlier time.
    disk: Option<Disk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Now,
    Before,
}

impl StoreError {
    fn new(what: String) -> StoreError {
        StoreError { what, disk: None }
    }
}

impl<E: std::error::Error> From<E> for StoreError
where
    redb::Error: From<E>,
{
    fn from(error: E) -> StoreError {
        match redb::Error::from(error) {
            redb::Error::Io(error) => StoreError { what: describe(&error), disk: Some(Disk::Now) },
            error @ redb::Error::PreviousIo => {
                StoreError { what: error.to_string(), disk: Some(Disk::Before) }
            }
            error => StoreError::new(error.to_string()),
        }
    }
}

/// A person as the store has them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) person: Person,
    pub(crate) scope: Option<PersonScope>,
    pub(crate) extra: Option<Extra>,
}

impl People {
    /// Those in the file `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`ServeError::People`] when it is no such file, another program has it, or the disk does not take it.
    pub fn open(path: &Path) -> Result<People, ServeError> {
        let wrong = |what: String| ServeError::People { path: path.to_owned(), what };
        let mut store = match Database::builder().set_cache_size(CACHE).create(path) {
            Ok(store) => store,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(wrong("another program has it open".to_owned()));
            }
            Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))) => {
                return Err(wrong(describe(&error)));
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        // Room that was taken ahead, or left by people who are gone, is given back.
        store.compact().map_err(|error| wrong(error.to_string()))?;
        let people = People { store: Arc::new(RwLock::new(Some(store))), path: Some(path.to_owned()) };
        match people.prepare() {
            Ok(None) => Ok(people),
            Ok(Some(version)) => Err(wrong(format!("its layout is {version}, this program reads {VERSION}"))),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// Nobody yet, and nobody any more once the program has ended.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<People, ServeError> {
        let wrong = |what: String| ServeError::People { path: PathBuf::new(), what };
        let store = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| wrong(error.to_string()))?;
        let people = People { store: Arc::new(RwLock::new(Some(store))), path: None };
        people.prepare().map_err(|error| wrong(error.to_string()))?;
        Ok(people)
    }

    /// The file they are kept in.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Has `work` done with the store. After a fault of the disk the file is opened again; what only met an earlier fault is tried once more.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let once = || {
            let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
            match &*store {
                Some(store) => work(store),
                None => Err(StoreError { what: "it is closed".to_owned(), disk: Some(Disk::Before) }),
            }
        };
        let result = once();
        let Some(disk) = result.as_ref().err().and_then(|error| error.disk) else { return result };
        self.open_again();
        match disk {
            Disk::Now => result,
            Disk::Before => once(),
        }
    }

    fn open_again(&self) {
        let Some(path) = &self.path else { return };
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // The file is locked until it is closed.
        *store = None;
        *store = Database::builder().set_cache_size(CACHE).open(path).ok();
    }

    /// Makes the tables; gives the version of the layout where it is another one.
    fn prepare(&self) -> Result<Option<String>, StoreError> {
        self.with(|store| {
            let write = store.begin_write()?;
            let found = {
                let mut about = write.open_table(ABOUT)?;
                let found = about.get("version")?.map(|version| version.value().to_owned());
                if found.is_none() {
                    about.insert("version", VERSION)?;
                    write.open_table(PEOPLE)?;
                    write.open_table(SCOPES)?;
                    write.open_table(EXTRAS)?;
                }
                found
            };
            write.commit()?;
            Ok(found.filter(|version| version != VERSION))
        })
    }

    /// Keeps `stored`; says whether somebody of that name was there, who is replaced only if `replace` says so.
    pub(crate) fn keep(&self, stored: &Stored, replace: bool) -> Result<bool, StoreError> {
        self.with(|store| People::keep_in(store, stored, replace))
    }

    fn keep_in(store: &Database, stored: &Stored, replace: bool) -> Result<bool, StoreError> {
        let key = key(&stored.person.model, &stored.person.id);
        let write = store.begin_write()?;
        {
            let mut people = write.open_table(PEOPLE)?;
            if people.get(&*key)?.is_some() && !replace {
                return Ok(true);
            }
            people.insert(&*key, &*stored.person.to_bytes())?;
            let mut scopes = write.open_table(SCOPES)?;
            match &stored.scope {
                Some(scope) => scopes.insert(&*key, &*scope.to_bytes())?.is_some(),
                None => scopes.remove(&*key)?.is_some(),
            };
            let mut extras = write.open_table(EXTRAS)?;
            match &stored.extra {
                Some(extra) => extras.insert(&*key, &*extra.to_bytes())?.is_some(),
                None => extras.remove(&*key)?.is_some(),
            };
        }
        write.commit()?;
        Ok(false)
    }

    /// The person called `id` beside the model `model`.
    pub(crate) fn find(&self, model: &str, id: &str) -> Result<Option<Stored>, StoreError> {
        self.with(|store| People::find_in(store, model, id))
    }

    fn find_in(store: &Database, model: &str, id: &str) -> Result<Option<Stored>, StoreError> {
        let (key, read) = (key(model, id), store.begin_read()?);
        let person = match read.open_table(PEOPLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            people => people?.get(&*key)?.map(|bytes| Person::from_bytes(bytes.value())),
        };
        let Some(person) = person else { return Ok(None) };
        let person = person.map_err(StoreError::new)?;
        let scope = read.open_table(SCOPES)?.get(&*key)?;
        let scope =
            scope.map(|bytes| PersonScope::from_bytes(bytes.value())).transpose().map_err(StoreError::new)?;
        let extra = match person.has_extra {
            false => None,
            true => read.open_table(EXTRAS)?.get(&*key)?.map(|bytes| Extra::from_bytes(bytes.value())),
        };
        let extra = extra.transpose().map_err(StoreError::new)?;
        Ok(Some(Stored { person, scope, extra }))
    }

    /// Up to `most` people in the order of their models and names, those behind `after`; and whether there are more.
    pub(crate) fn list(
        &self,
        after: Option<(&str, &str)>,
        most: usize,
    ) -> Result<(Vec<Person>, bool), StoreError> {
        let first = after.map(|(model, id)| key(model, id) + "\0").unwrap_or_default();
        self.with(|store| {
            let people = store.begin_read()?.open_table(PEOPLE)?;
            let mut found = Vec::new();
            for entry in people.range(&*first..)? {
                if found.len() == most {
                    return Ok((found, true));
                }
                found.push(Person::from_bytes(entry?.1.value()).map_err(StoreError::new)?);
            }
            Ok((found, false))
        })
    }

    /// Forgets somebody; says whether there was anybody.
    pub(crate) fn forget(&self, model: &str, id: &str) -> Result<bool, StoreError> {
        let key = key(model, id);
        self.with(|store| {
            let write = store.begin_write()?;
            let found = {
                write.open_table(SCOPES)?.remove(&*key)?;
                write.open_table(EXTRAS)?.remove(&*key)?;
                write.open_table(PEOPLE)?.remove(&*key)?.is_some()
            };
            write.commit()?;
            Ok(found)
        })
    }
}

/// Models' names hold no line feed.
fn key(model: &str, id: &str) -> String {
    format!("{model}\n{id}")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::person::tests::anybody;

    #[test]
    fn people_are_kept_found_listed_and_forgotten() {
        let people = People::in_memory().unwrap();
        let anna = anybody("anna");
        assert!(!people.keep(&anna, false).unwrap());
        assert!(people.keep(&anna, false).unwrap(), "a name is taken once");
        assert!(!people.keep(&anna, true).unwrap());
        assert_eq!(people.find("mini", "anna").unwrap().as_ref(), Some(&anna));
        assert_eq!(people.find("other", "anna").unwrap(), None);
        people.keep(&anybody("bob"), false).unwrap();
        people.keep(&anybody("carl"), false).unwrap();
        let names = |after, most| {
            let (list, more) = people.list(after, most).unwrap();
            (list.into_iter().map(|person| person.id).collect::<Vec<_>>(), more)
        };
        assert_eq!(names(None, 2), (vec!["anna".to_owned(), "bob".to_owned()], true));
        assert_eq!(names(Some(("mini", "bob")), 2), (vec!["carl".to_owned()], false));
        assert!(people.forget("mini", "anna").unwrap() && !people.forget("mini", "anna").unwrap());
        assert_eq!((people.find("mini", "anna").unwrap(), people.list(None, 9).unwrap().0.len()), (None, 2));
    }

    #[test]
    fn ten_thousand_take_two_kilobytes_each_and_are_found_at_once() {
        const PEOPLE: usize = 10_000;
        let folder = std::env::temp_dir().join(format!("crayon-people-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("people.redb");
        let people = People::open(&path).unwrap();
        {
            // As `keep` does, in one transaction, because the disk is waited for once for each.
            let store = people.store.read().unwrap();
            let write = store.as_ref().unwrap().begin_write().unwrap();
            for number in 0..PEOPLE {
                let one = anybody(&format!("person-{number}"));
                let key = key("mini", &one.person.id);
                write.open_table(super::PEOPLE).unwrap().insert(&*key, &*one.person.to_bytes()).unwrap();
                let scope = one.scope.unwrap().to_bytes();
                write.open_table(SCOPES).unwrap().insert(&*key, &*scope).unwrap();
            }
            write.commit().unwrap();
        }
        let before = Instant::now();
        const READS: usize = 1000;
        for number in 0..READS {
            let id = format!("person-{}", number * 7919 % PEOPLE);
            assert!(people.find("mini", &id).unwrap().is_some(), "{id}");
        }
        let each = before.elapsed() / READS as u32;
        assert!(each.as_micros() < 1000, "{each:?}");
        assert!(People::open(&path).is_err(), "two programs would write into one file");
        drop(people);
        // As it is found by the next program.
        drop(People::open(&path).unwrap());
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(size <= 2048 * PEOPLE, "{} bytes each", size / PEOPLE);
    }
}
