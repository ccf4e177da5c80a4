//! From values to text that the original reads, and we too: bare where it may be, else in double quotes.

use std::fmt::{self, Display, Formatter, Write};

use crate::lexer::{is_first_of_word, is_in_word};
use crate::spec::{Relation, Spec, Value};

impl Display for Spec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation(relation) => relation.fmt(f),
            Self::List(combiner, members) => {
                f.write_char(combiner.symbol())?;
                members.iter().try_for_each(|member| write!(f, "({member})"))
            }
        }
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        literal(f, &self.attribute)?;
        f.write_str(self.operator.symbol())?;
        separated(f, &self.values, " ")
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => literal(f, text),
            Self::Sequence(values) => parenthesised(f, "(", values),
            Self::Reference(values) => parenthesised(f, "$(", values),
            Self::Concatenation(parts) => separated(f, parts, " # "),
        }
    }
}

fn parenthesised(f: &mut Formatter<'_>, open: &str, values: &[Value]) -> fmt::Result {
    f.write_str(open)?;
    separated(f, values, " ")?;
    f.write_char(')')
}

fn separated(f: &mut Formatter<'_>, values: &[Value], between: &str) -> fmt::Result {
    for (nth, value) in values.iter().enumerate() {
        if nth > 0 {
            f.write_str(between)?;
        }
        value.fmt(f)?;
    }
    Ok(())
}

fn literal(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    if text.starts_with(is_first_of_word) && text.chars().all(is_in_word) {
        return f.write_str(text);
    }
    write!(f, "\"{}\"", text.replace('"', "\"\""))
}
