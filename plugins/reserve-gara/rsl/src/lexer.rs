//! From text to tokens, as the original's scanner does it: found out by asking it (tests/oracle).
//!
//! Two of its ways are not in the published grammar. A character that begins no token (`*`, `?`, `~`, a lone
//! `!`), a quote that is never closed and a comment that is never closed all end the text there, silently. And a
//! bare word may contain `&`, `|` and `+` where it cannot begin with them.

use crate::spec::{Combiner, Operator};

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// Text without quotes.
    Word(String),
    /// Text that was in quotes, or between delimiters of the writer's own.
    Quoted(String),
    Operator(Operator),
    Combiner(Combiner),
    Open,
    Close,
    Hash,
    Dollar,
    End,
}

/// Cuts a text into tokens.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    /// Bytes read so far; always at a character.
    position: usize,
}

/// A token and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    /// Byte offset of its first character.
    pub(crate) offset: usize,
    /// Whether nothing, not even a comment, is between it and the token before it.
    pub(crate) is_glued: bool,
}

/// Whether a bare word may hold this character anywhere.
pub(crate) fn is_in_word(c: char) -> bool {
    !matches!(
        c,
        '\0' | '\t'
            | '\n'
            | ' '
            | '!'
            | '"'
            | '#'
            | '$'
            | '\''
            | '('
            | ')'
            | '*'
            | '<'
            | '='
            | '>'
            | '?'
            | '^'
            | '~'
    )
}

/// Whether a bare word may begin with this character.
pub(crate) fn is_first_of_word(c: char) -> bool {
    is_in_word(c) && !matches!(c, '&' | '|' | '+')
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    pub(crate) fn next(&mut self) -> Lexeme {
        let before = self.position;
        self.skip_blanks_and_comments();
        let offset = self.position;
        Lexeme { token: self.token(), offset, is_glued: before == offset && offset > 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n']).len();
            self.position += blanks;
            if !self.rest().starts_with("(*") {
                return;
            }
            match self.rest()[2..].find("*)") {
                Some(length) => self.position += length + 4,
                None => return self.position = self.text.len(),
            }
        }
    }

    fn token(&mut self) -> Token {
        let mut chars = self.rest().chars();
        let Some(first) = chars.next() else { return Token::End };
        let is_with_equal = chars.next() == Some('=');
        let single = |token| (token, 1);
        let (token, length) = match first {
            '(' => single(Token::Open),
            ')' => single(Token::Close),
            '#' => single(Token::Hash),
            '$' => single(Token::Dollar),
            '&' => single(Token::Combiner(Combiner::And)),
            '|' => single(Token::Combiner(Combiner::Or)),
            '+' => single(Token::Combiner(Combiner::Multi)),
            '=' => single(Token::Operator(Operator::Equal)),
            '!' if is_with_equal => (Token::Operator(Operator::NotEqual), 2),
            '>' if is_with_equal => (Token::Operator(Operator::GreaterOrEqual), 2),
            '>' => single(Token::Operator(Operator::Greater)),
            '<' if is_with_equal => (Token::Operator(Operator::LessOrEqual), 2),
            '<' => single(Token::Operator(Operator::Less)),
            '"' | '\'' => return self.delimited(1, first),
            '^' => return self.delimited_by_own(),
            _ if is_first_of_word(first) => return self.word(),
            _ => return self.end(),
        };
        self.position += length;
        token
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let length = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
        self.position += length;
        Token::Word(rest[..length].to_owned())
    }

    /// `^cTEXTc`: the writer's own delimiter, also a blank or a newline.
    fn delimited_by_own(&mut self) -> Token {
        match self.rest().chars().nth(1) {
            Some(delimiter) => self.delimited(1 + delimiter.len_utf8(), delimiter),
            None => self.end(),
        }
    }

    /// Text up to the delimiter; the delimiter twice stands for itself.
    fn delimited(&mut self, opening: usize, delimiter: char) -> Token {
        let mut content = String::new();
        let mut chars = self.rest()[opening..].char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != delimiter {
                content.push(c);
            } else if chars.next_if(|(_, next)| *next == delimiter).is_some() {
                content.push(delimiter);
            } else {
                self.position += opening + at + delimiter.len_utf8();
                return Token::Quoted(content);
            }
        }
        self.end()
    }

    fn end(&mut self) -> Token {
        self.position = self.text.len();
        Token::End
    }
}
