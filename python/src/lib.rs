//! The library as a Python module: `import crayon`.
//!
//! Reading order: `model` opens and asks, `talk` is an answer in the making, `session` a conversation, `customized` what a person's
//! examples make of a model, `pictures` the search by words. `asked` reads what Python gives, `error` and `interrupt` are what it gets
//! instead of an answer. Work runs without Python's lock.

mod asked;
mod customized;
mod error;
mod interrupt;
mod json;
mod model;
mod pictures;
mod session;
mod talk;

use pyo3::prelude::*;

/// A language model of your own, on your own device.
///
/// >>> import crayon
/// >>> model = crayon.Model("mini")
/// >>> print(model.ask("What is a cat?"))
/// A cat is a small furry animal that often lives with people and says meow.
///
/// Nothing here opens a connection.
#[pymodule]
mod crayon {
    use super::*;

    #[pymodule_export]
    use super::customized::{Customized, Tried};
    #[pymodule_export]
    use super::error::{Error, Fault, Mistake};
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::pictures::{Clip, Hit, Pictures};
    #[pymodule_export]
    use super::session::Session;
    #[pymodule_export]
    use super::talk::{Answer, Stream};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
