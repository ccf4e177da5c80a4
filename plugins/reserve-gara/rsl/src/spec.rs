//! What an RSL text means: relations, lists of specifications, values.

/// A whole specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `bandwidth=150`
    Relation(Relation),
    /// `&(a=1)(b=2)`: at least one member.
    List(Combiner, Vec<Spec>),
}

/// How the members of a list belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combiner {
    /// `&`: all of them.
    And,
    /// `|`: any of them.
    Or,
    /// `+`: several requests in one.
    Multi,
}

/// `attribute operator values`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The name as written; names differ only in more than case ([`is_same_name`]).
    pub attribute: String,
    /// What holds between name and values.
    pub operator: Operator,
    /// The values, in order; at least one.
    pub values: Vec<Value>,
}

/// What holds between an attribute and its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// One value of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, bare or quoted where it was read.
    Literal(String),
    /// `(a b c)`: at least one value.
    Sequence(Vec<Value>),
    /// `$(NAME)` or `$(NAME default)`: at least one value; the original takes more, and acts on two.
    Reference(Vec<Value>),
    /// `a # b`, or a bare word right beside a reference: at least two parts, literals and references.
    Concatenation(Vec<Value>),
}

/// Whether two attribute names are the same to the original's look-up: case does not count, underscores do.
pub fn is_same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

impl Spec {
    /// `&(…)(…)` of relations.
    pub fn conjunction(relations: impl IntoIterator<Item = Relation>) -> Self {
        Self::List(Combiner::And, relations.into_iter().map(Self::Relation).collect())
    }
}

impl Relation {
    /// `attribute = value`
    pub fn equal(attribute: impl Into<String>, value: impl Into<String>) -> Self {
        let values = vec![Value::Literal(value.into())];
        Self { attribute: attribute.into(), operator: Operator::Equal, values }
    }
}

impl Combiner {
    /// The character that opens such a list.
    pub fn symbol(self) -> char {
        match self {
            Self::And => '&',
            Self::Or => '|',
            Self::Multi => '+',
        }
    }
}

impl Operator {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}
