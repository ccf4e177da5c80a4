//! From tokens to values: the grammar of the original.
//!
//! ```text
//!  spec     = relation | ("&" | "|" | "+") ("(" spec ")")+
//!  relation = literal ("=" | "!=" | ">" | ">=" | "<" | "<=") value+
//!  value    = "(" value+ ")" | simple ("#"? simple)*      without "#" only a bare word right beside a reference,
//!  simple   = literal | reference                         or two references side by side
//!  reference = "$" "(" value+ ")"
//!  literal  = bare | "…" | '…' | ^c…c                     the delimiter twice stands for itself
//! ```
//! Comments `(* … *)` and blanks may stand between tokens. Nesting is bounded here, in the original by memory.

use crate::lexer::{Lexeme, Lexer, Token};
use crate::spec::{Relation, Spec, Value};

/// Parentheses inside parentheses that are followed; deeper texts are refused.
pub const DEEPEST_NESTING: usize = 64;

/// Why a text is no RSL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct ParseError {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else should stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Too many parentheses inside parentheses.
    #[error("nested deeper than {DEEPEST_NESTING}")]
    TooDeep,
}

/// Reads one specification.
///
/// # Errors
/// The first place where the original's parser would give up too, or nesting beyond [`DEEPEST_NESTING`].
pub fn parse(text: &str) -> Result<Spec, ParseError> {
    let mut lexer = Lexer::new(text);
    let next = lexer.next();
    let mut parser = Parser { lexer, next, depth: 0 };
    let spec = parser.spec()?;
    match parser.next.token {
        Token::End => Ok(spec),
        _ => Err(parser.expected("the end")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token to be read next.
    next: Lexeme,
    depth: usize,
}

impl Parser<'_> {
    fn advance(&mut self) -> Token {
        let next = self.lexer.next();
        std::mem::replace(&mut self.next, next).token
    }

    fn expected(&self, what: &'static str) -> ParseError {
        ParseError { offset: self.next.offset, kind: ParseErrorKind::Expected(what) }
    }

    fn open(&mut self) -> Result<(), ParseError> {
        if self.next.token != Token::Open {
            return Err(self.expected("("));
        }
        if self.depth == DEEPEST_NESTING {
            return Err(ParseError { offset: self.next.offset, kind: ParseErrorKind::TooDeep });
        }
        self.depth += 1;
        self.advance();
        Ok(())
    }

    fn close(&mut self) -> Result<(), ParseError> {
        if self.next.token != Token::Close {
            return Err(self.expected(")"));
        }
        self.depth -= 1;
        self.advance();
        Ok(())
    }

    fn spec(&mut self) -> Result<Spec, ParseError> {
        let Token::Combiner(combiner) = self.next.token else {
            return self.relation().map(Spec::Relation);
        };
        self.advance();
        let mut members = Vec::new();
        while members.is_empty() || self.next.token == Token::Open {
            self.open()?;
            members.push(self.spec()?);
            self.close()?;
        }
        Ok(Spec::List(combiner, members))
    }

    fn relation(&mut self) -> Result<Relation, ParseError> {
        let attribute = self.literal("a name, or one of & | +")?;
        let Token::Operator(operator) = self.next.token else {
            return Err(self.expected("an operator: = != > >= < <="));
        };
        self.advance();
        Ok(Relation { attribute, operator, values: self.values()? })
    }

    fn values(&mut self) -> Result<Vec<Value>, ParseError> {
        let mut values = vec![self.value()?];
        while matches!(self.next.token, Token::Word(_) | Token::Quoted(_) | Token::Dollar | Token::Open) {
            values.push(self.value()?);
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        if self.next.token == Token::Open {
            return self.parenthesised().map(Value::Sequence);
        }
        let mut parts = Vec::new();
        loop {
            let is_word = matches!(self.next.token, Token::Word(_));
            parts.push(self.simple()?);
            let is_joined_by_hash = self.next.token == Token::Hash;
            if is_joined_by_hash {
                self.advance();
            } else if !self.is_joined_by_nearness(is_word, parts.last()) {
                break;
            }
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => Ok(Value::Concatenation(parts.into_iter().chain(last).collect())),
        }
    }

    /// Whether what comes next belongs to the value before it though no `#` says so.
    fn is_joined_by_nearness(&self, is_after_word: bool, before: Option<&Value>) -> bool {
        let is_after_reference = matches!(before, Some(Value::Reference(_)));
        self.next.is_glued
            && match self.next.token {
                Token::Dollar => is_after_word || is_after_reference,
                Token::Word(_) => is_after_reference,
                _ => false,
            }
    }

    fn simple(&mut self) -> Result<Value, ParseError> {
        if self.next.token == Token::Dollar {
            self.advance();
            return self.parenthesised().map(Value::Reference);
        }
        self.literal("a value").map(Value::Literal)
    }

    fn literal(&mut self, what: &'static str) -> Result<String, ParseError> {
        let error = self.expected(what);
        let (Token::Word(text) | Token::Quoted(text)) = &mut self.next.token else { return Err(error) };
        let text = std::mem::take(text);
        self.advance();
        Ok(text)
    }

    fn parenthesised(&mut self) -> Result<Vec<Value>, ParseError> {
        self.open()?;
        let values = self.values()?;
        self.close()?;
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
