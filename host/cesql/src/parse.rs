//! Text to program (§2, §3.6): operator precedence parsing, by hand. The grammar has five levels of
//! binary operators and one lookahead; a parser library would not make it shorter, and positions,
//! messages and the limit on depth are what we want to choose.

use std::ops::Range;

use crate::error::ParseError;
use crate::expression::Expression;
use crate::function::Function;
use crate::pattern::Pattern;
use crate::program::{Arithmetic, Comparison, Literal, Logic, Op, OpKind};

/// Maximum size of an expression's text, bytes.
pub const EXPRESSION_MAX_BYTES: usize = 32 * 1024;

/// Maximum depth of parentheses, arguments and unary operators in each other.
pub const EXPRESSION_MAX_DEPTH: usize = 100;

/// How tight operators bind (§3.6), loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precedence {
    Logic,
    Comparison,
    Additive,
    Multiplicative,
    In,
    Like,
    Unary,
    Primary,
}

impl Precedence {
    /// The least that a right operand must have: operators of one level group from the left.
    pub(crate) fn right(self) -> Self {
        match self {
            Self::Logic => Self::Comparison,
            Self::Comparison => Self::Additive,
            Self::Additive => Self::Multiplicative,
            Self::Multiplicative => Self::In,
            Self::In => Self::Like,
            Self::Like => Self::Unary,
            Self::Unary | Self::Primary => Self::Primary,
        }
    }
}

/// An operator behind an operand.
#[derive(Clone, Copy, Debug)]
enum Infix {
    Logic(Logic),
    Binary(Precedence, Simple),
    Like { is_negated: bool },
    In { is_negated: bool },
}

/// Binary operators that always evaluate both operands.
#[derive(Clone, Copy, Debug)]
enum Simple {
    Xor,
    Equal { is_negated: bool },
    Compare(Comparison),
    Arithmetic(Arithmetic),
}

impl Infix {
    fn precedence(self) -> Precedence {
        match self {
            Self::Logic(_) => Precedence::Logic,
            Self::Binary(precedence, _) => precedence,
            Self::Like { .. } => Precedence::Like,
            Self::In { .. } => Precedence::In,
        }
    }
}

/// Symbols of operators, longer ones first.
const SYMBOLS: &[(&str, Precedence, Simple)] = &[
    ("!=", Precedence::Comparison, Simple::Equal { is_negated: true }),
    ("<>", Precedence::Comparison, Simple::Equal { is_negated: true }),
    ("<=", Precedence::Comparison, Simple::Compare(Comparison::LessOrEqual)),
    (">=", Precedence::Comparison, Simple::Compare(Comparison::GreaterOrEqual)),
    ("=", Precedence::Comparison, Simple::Equal { is_negated: false }),
    ("<", Precedence::Comparison, Simple::Compare(Comparison::Less)),
    (">", Precedence::Comparison, Simple::Compare(Comparison::Greater)),
    ("*", Precedence::Multiplicative, Simple::Arithmetic(Arithmetic::Multiply)),
    ("/", Precedence::Multiplicative, Simple::Arithmetic(Arithmetic::Divide)),
    ("%", Precedence::Multiplicative, Simple::Arithmetic(Arithmetic::Remainder)),
    ("+", Precedence::Additive, Simple::Arithmetic(Arithmetic::Add)),
    ("-", Precedence::Additive, Simple::Arithmetic(Arithmetic::Subtract)),
];

const KEYWORDS: &[&str] = &["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"];

impl Expression {
    /// Parses an expression.
    ///
    /// What is certain to fail whatever the event, such as a call of an unknown function, is an error
    /// of evaluations (§3.3) and parses; [`Expression::check_filter`] finds it.
    ///
    /// # Errors
    /// The text is no expression (§2), or exceeds a limit.
    ///
    /// ```
    /// use usher_cesql::Expression;
    ///
    /// let error = Expression::parse("subject LIKE prefix").unwrap_err();
    /// assert_eq!(error.at(), 13);
    /// assert_eq!(error.reason(), "LIKE needs a pattern in quotes (§3.4.3)");
    /// ```
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > EXPRESSION_MAX_BYTES {
            let reason =
                format!("has {} bytes, at most {EXPRESSION_MAX_BYTES} are allowed", text.len());
            return Err(ParseError::new("", 0, reason));
        }
        let mut parser = Parser { text, at: 0, end: 0, depth: 0, ops: Vec::new() };
        parser.expression(Precedence::Logic)?;
        match parser.peek() {
            None => Ok(Self::new(text, parser.ops)),
            Some(')') => Err(parser.error("there is no parenthesis to close")),
            Some(_) => Err(parser.error("expected an operator or the end")),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Where it reads on.
    at: usize,
    /// Where what it read last ends.
    end: usize,
    depth: usize,
    ops: Vec<Op>,
}

impl<'t> Parser<'t> {
    /// An operand, and operators that bind at least so tight with theirs.
    fn expression(&mut self, least: Precedence) -> Result<(), ParseError> {
        let (first, begin) = (self.ops.len(), self.skip_space());
        self.operand()?;
        while let Some((infix, behind)) = self.infix() {
            if infix.precedence() < least {
                break;
            }
            let left = begin..self.end.max(begin);
            self.advance(behind);
            let kind = self.right_side(infix, left)?;
            self.push(kind, first, begin);
        }
        Ok(())
    }

    /// An expression within parentheses or arguments, or behind a unary operator.
    fn nested(&mut self, least: Precedence) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > EXPRESSION_MAX_DEPTH {
            return Err(self.error(format!("nests deeper than {EXPRESSION_MAX_DEPTH}")));
        }
        self.expression(least)?;
        self.depth -= 1;
        Ok(())
    }

    /// What follows an infix operator; returns the operation.
    fn right_side(&mut self, infix: Infix, left: Range<usize>) -> Result<OpKind, ParseError> {
        let right = infix.precedence().right();
        Ok(match infix {
            Infix::Logic(logic) => {
                let branch = self.ops.len();
                // What it may fail at is its left operand.
                let kind = OpKind::Branch { logic, end: 0 };
                self.ops.push(Op { kind, first: branch, place: left });
                self.expression(right)?;
                let end = self.ops.len() + 1;
                if let Some(op) = self.ops.get_mut(branch) {
                    op.kind = OpKind::Branch { logic, end };
                }
                OpKind::Logic(logic)
            }
            Infix::Binary(_, operator) => {
                self.expression(right)?;
                match operator {
                    Simple::Xor => OpKind::Xor,
                    Simple::Equal { is_negated } => OpKind::Equal { is_negated },
                    Simple::Compare(comparison) => OpKind::Compare(comparison),
                    Simple::Arithmetic(arithmetic) => OpKind::Arithmetic(arithmetic),
                }
            }
            Infix::Like { is_negated } => {
                let Some(quote @ ('\'' | '"')) = self.peek() else {
                    return Err(self.error("LIKE needs a pattern in quotes (§3.4.3)"));
                };
                let pattern = Pattern::new(&self.string(quote)?);
                OpKind::Like { pattern, is_negated }
            }
            Infix::In { is_negated } => {
                if self.peek() != Some('(') {
                    return Err(self.error("IN needs a set in parentheses"));
                }
                let elements = self.list()?;
                if elements == 0 {
                    return Err(self.error("IN needs at least one element (§3.4.5)"));
                }
                OpKind::In { elements, is_negated }
            }
        })
    }

    fn operand(&mut self) -> Result<(), ParseError> {
        let (first, begin) = (self.ops.len(), self.at);
        match self.peek() {
            None => Err(self.error("expected a value, found the end")),
            Some('(') => {
                self.advance(begin + 1);
                self.nested(Precedence::Logic)?;
                self.close()
            }
            Some(quote @ ('\'' | '"')) => {
                let text = self.string(quote)?;
                self.push(OpKind::Literal(Literal::String(text.into())), first, begin);
                Ok(())
            }
            Some(sign @ ('-' | '+')) => {
                let digits = self.word_at(begin + 1);
                if digits.starts_with(|one: char| one.is_ascii_digit()) {
                    return self.integer(begin, begin + 1 + digits.len());
                }
                if sign == '+' {
                    return Err(self.error("a + here needs digits behind it"));
                }
                self.advance(begin + 1);
                self.nested(Precedence::Unary)?;
                self.push(OpKind::Negate, first, begin);
                Ok(())
            }
            Some(one) if is_word(one) => self.word(first, begin),
            Some(one) => Err(self.error(format!("expected a value, found {one:?}"))),
        }
    }

    /// A keyword, an integer, a function call or an attribute.
    fn word(&mut self, first: usize, begin: usize) -> Result<(), ParseError> {
        let word = self.word_at(begin);
        let behind = begin + word.len();
        let keyword = KEYWORDS.iter().find(|keyword| word.eq_ignore_ascii_case(keyword)).copied();
        match keyword {
            Some("NOT") => {
                self.advance(behind);
                self.nested(Precedence::Unary)?;
                self.push(OpKind::Not, first, begin);
                return Ok(());
            }
            Some("EXISTS") => {
                self.advance(behind);
                let place = self.skip_space();
                let name = self.word_at(place);
                self.check_name(name)?;
                self.advance(place + name.len());
                self.push(OpKind::Exists(name.into()), first, begin);
                return Ok(());
            }
            Some(keyword @ ("TRUE" | "FALSE")) => {
                self.advance(behind);
                let literal = Literal::Boolean(keyword == "TRUE");
                self.push(OpKind::Literal(literal), first, begin);
                return Ok(());
            }
            Some(keyword) => return Err(self.error(format!("expected a value, found {keyword}"))),
            None => {}
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.integer(begin, behind);
        }
        let open = self.text.get(self.behind_space(behind)..);
        if open.is_some_and(|open| open.starts_with('(')) {
            return self.call(word, first, begin);
        }
        self.check_name(word)?;
        self.advance(behind);
        self.push(OpKind::Attribute(word.into()), first, begin);
        Ok(())
    }

    fn call(&mut self, name: &str, first: usize, begin: usize) -> Result<(), ParseError> {
        let is_name = name.starts_with(|one: char| one.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !is_name {
            return Err(self.error("names of functions are letters and _ (§2.4)"));
        }
        self.advance(begin + name.len());
        let arguments = self.list()?;
        let kind = match Function::of(name, arguments) {
            Some(function) => OpKind::Call { function, arguments },
            None => OpKind::Unknown { name: name.to_ascii_uppercase().into(), arguments },
        };
        self.push(kind, first, begin);
        Ok(())
    }

    /// Expressions in parentheses; returns their number.
    fn list(&mut self) -> Result<usize, ParseError> {
        let open = self.skip_space();
        self.advance(open + 1);
        let mut count = 0;
        if self.peek() == Some(')') {
            self.close()?;
            return Ok(count);
        }
        loop {
            self.nested(Precedence::Logic)?;
            count += 1;
            match self.peek() {
                Some(',') => self.advance(self.at + 1),
                _ => return self.close().map(|()| count),
            }
        }
    }

    fn close(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            Some(')') => {
                self.advance(self.at + 1);
                Ok(())
            }
            None => Err(self.error("a parenthesis is not closed")),
            Some(_) => Err(self.error("expected an operator or )")),
        }
    }

    fn integer(&mut self, begin: usize, end: usize) -> Result<(), ParseError> {
        let first = self.ops.len();
        let text = self.text.get(begin..end).unwrap_or_default();
        if !text.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
            return Err(self.error("a number has digits only; names have no sign"));
        }
        let Ok(number) = text.parse() else {
            return Err(self.error("isn't a 32-bit signed integer (§2.2)"));
        };
        self.advance(end);
        self.push(OpKind::Literal(Literal::Integer(number)), first, begin);
        Ok(())
    }

    /// A string literal. A backslash escapes the quote; before anything else it stands for itself,
    /// together with what follows.
    fn string(&mut self, quote: char) -> Result<String, ParseError> {
        let begin = self.skip_space();
        let mut value = String::new();
        let mut chars = self.text.get(begin + 1..).unwrap_or_default().char_indices();
        while let Some((at, one)) = chars.next() {
            if one == quote {
                self.advance(begin + 1 + at + 1);
                if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(quote)) {
                    let reason = format!("a {quote} within the string is written \\{quote}");
                    return Err(self.error(reason));
                }
                return Ok(value);
            }
            if one != '\\' {
                value.push(one);
                continue;
            }
            let Some((_, escaped)) = chars.next() else { break };
            if escaped != quote {
                value.push('\\');
            }
            value.push(escaped);
        }
        Err(self.error(format!("the string is not closed with {quote}")))
    }

    fn check_name(&self, name: &str) -> Result<(), ParseError> {
        if name.is_empty() {
            return Err(self.error("expected the name of an attribute"));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.bytes().all(is_name) {
            return Ok(());
        }
        Err(self.error("names of attributes are lower-case letters and digits (§2.2)"))
    }

    /// The operator that follows, and where it ends.
    fn infix(&mut self) -> Option<(Infix, usize)> {
        let begin = self.skip_space();
        let rest = self.text.get(begin..)?;
        if let Some((symbol, precedence, operator)) =
            SYMBOLS.iter().find(|(symbol, ..)| rest.starts_with(symbol))
        {
            return Some((Infix::Binary(*precedence, *operator), begin + symbol.len()));
        }
        let word = self.word_at(begin);
        let is = |keyword: &str, word: &str| word.eq_ignore_ascii_case(keyword);
        let end = begin + word.len();
        if is("AND", word) {
            return Some((Infix::Logic(Logic::And), end));
        }
        if is("OR", word) {
            return Some((Infix::Logic(Logic::Or), end));
        }
        if is("XOR", word) {
            return Some((Infix::Binary(Precedence::Logic, Simple::Xor), end));
        }
        let is_negated = is("NOT", word);
        let (word, end) = if is_negated {
            let begin = self.behind_space(end);
            let word = self.word_at(begin);
            (word, begin + word.len())
        } else {
            (word, end)
        };
        if is("LIKE", word) {
            return Some((Infix::Like { is_negated }, end));
        }
        is("IN", word).then_some((Infix::In { is_negated }, end))
    }

    /// The word that begins at a byte.
    fn word_at(&self, begin: usize) -> &'t str {
        let rest = self.text.get(begin..).unwrap_or_default();
        let end = rest.find(|one| !is_word(one)).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let at = self.skip_space();
        self.text.get(at..)?.chars().next()
    }

    fn skip_space(&mut self) -> usize {
        self.at = self.behind_space(self.at);
        self.at
    }

    fn behind_space(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.len() - rest.trim_start_matches(SPACE).len()
    }

    fn advance(&mut self, to: usize) {
        (self.at, self.end) = (to, to);
    }

    fn push(&mut self, kind: OpKind, first: usize, begin: usize) {
        let place: Range<usize> = begin..self.end.max(begin);
        self.ops.push(Op { kind, first, place });
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        ParseError::new(self.text, self.at, reason)
    }
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_word(one: char) -> bool {
    one.is_ascii_alphanumeric() || one == '_'
}
