//! The values at the places of a document, decoded, and parts of it as documents of their own.

use crate::budget::{Budget, OverBudget};
use crate::document::{Document, Place, as_str, into_string};
use crate::number::{self, Integer};
use crate::overlay::Replacement;
use crate::tape::Kind;
use crate::value::Value;
use crate::{json_writer, parser};

impl Document {
    /// The value at a node as a document of its own, which shares text and tape where nothing in it was edited.
    pub(crate) fn subtree(&self, root: u32) -> Option<Self> {
        if self.is_edited(root) {
            let mut text = Vec::new();
            json_writer::write(Place::Read(self, root), &mut text);
            return Self::parse(text.into(), parser::MAX_DEPTH).ok();
        }
        Some(self.part(root))
    }
}

impl<'a> Place<'a> {
    /// Takes what [`Place::value`] is going to cost: the text of a container that was edited is written for it.
    pub(crate) fn charge(self, budget: &mut Budget) -> Result<(), OverBudget> {
        let (document, index) = match self {
            Place::Read(document, index) => (document, index),
            Place::Set(Replacement::Document(document)) => (&**document, document.root),
            Place::Set(Replacement::Text(text)) => return budget.spend_bytes(text.len()),
            Place::Set(_) => return Ok(()),
        };
        let node = document.node(index);
        budget.spend_bytes((node.end - node.start) as usize)?;
        match document.is_edited(index) {
            true => budget.spend(document.writing_cost(index)),
            false => Ok(()),
        }
    }

    /// The value, decoded if it is a scalar.
    pub(crate) fn value(self) -> Value<'a> {
        let (document, index) = match self {
            Place::Read(document, index) => (document, index),
            Place::Set(Replacement::Null) => return Value::Null,
            Place::Set(Replacement::Bool(value)) => return Value::Bool(*value),
            Place::Set(Replacement::Int(value)) => return Value::Int(*value),
            Place::Set(Replacement::UInt(value)) => return Value::UInt(*value),
            Place::Set(Replacement::Float(value)) => return Value::Float(*value),
            Place::Set(Replacement::Text(value)) => return Value::Text(value.as_str().into()),
            Place::Set(Replacement::Document(document)) => (&**document, document.root),
        };
        let node = document.node(index);
        match node.kind {
            Kind::Null => Value::Null,
            Kind::False => Value::Bool(false),
            Kind::True => Value::Bool(true),
            Kind::Integer => match number::integer(document.span(node)) {
                Integer::Signed(value) => Value::Int(value),
                Integer::Unsigned(value) => Value::UInt(value),
            },
            Kind::Float => Value::Float(number::float(document.span(node))),
            Kind::Text | Kind::EscapedText | Kind::Key | Kind::EscapedKey | Kind::SupersededKey => {
                Value::Text(document.string(node))
            }
            Kind::BigInteger => Value::Json(as_str(document.span(node))),
            Kind::Array | Kind::Object if document.is_edited(index) => {
                let mut text = Vec::new();
                json_writer::write(self, &mut text);
                Value::Json(into_string(text).into())
            }
            Kind::Array | Kind::Object => Value::Json(as_str(document.span(node))),
        }
    }
}
