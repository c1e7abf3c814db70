//! Scenario files: strict TOML that names a subject, its world, the faults to try and the
//! invariants to hold.

mod duration;
mod load;
mod meaning;
mod model;
mod needs;
mod placeholders;
mod problem;
mod reference;
mod shape;
#[cfg(test)]
mod tests;

pub use duration::{parse as parse_duration, write as write_duration};
pub use load::INVARIANTS;
pub use model::*;
pub use needs::MissingNeed;
pub use placeholders::PLACEHOLDERS;
pub use problem::{Place, Problem, ScenarioError, nearest};
pub use reference::{page as reference_page, schema, schema_text};
