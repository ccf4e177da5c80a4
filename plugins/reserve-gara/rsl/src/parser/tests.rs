use super::*;
use crate::spec::{Combiner, Operator};
use proptest::prelude::*;

/// Any specification that the writer can write.
pub(crate) fn specs() -> impl Strategy<Value = Spec> {
    let relation = relations().prop_map(Spec::Relation);
    relation.prop_recursive(4, 24, 4, |inner| {
        let combiner = prop_oneof![Just(Combiner::And), Just(Combiner::Or), Just(Combiner::Multi)];
        (combiner, prop::collection::vec(inner, 1..4))
            .prop_map(|(combiner, members)| Spec::List(combiner, members))
    })
}

fn relations() -> impl Strategy<Value = Relation> {
    let operator = prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Less,
        Operator::LessOrEqual,
    ]);
    (texts(), operator, prop::collection::vec(values(), 1..4))
        .prop_map(|(attribute, operator, values)| Relation { attribute, operator, values })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just("start-time".to_owned()), "[a-z0-9.:/_-]{0,8}", "[ -~\\t\\n\u{e9}]{0,8}"]
}

fn values() -> impl Strategy<Value = Value> {
    let simple = texts().prop_map(Value::Literal);
    simple.prop_recursive(4, 24, 4, |inner| {
        let several = prop::collection::vec(inner, 1..4);
        let reference = several.clone().prop_map(Value::Reference);
        let part = prop_oneof![texts().prop_map(Value::Literal), reference.clone()];
        let concatenation = prop::collection::vec(part, 2..5).prop_map(Value::Concatenation);
        prop_oneof![several.prop_map(Value::Sequence), reference, concatenation]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(spec in specs()) {
        prop_assert_eq!(parse(&spec.to_string()), Ok(spec));
    }

    #[test]
    fn no_text_brings_the_parser_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_text_of_its_own_characters_does_either(text in "[&|+()=<>!#$^\"'*a ~\n]{0,60}") {
        if let Ok(spec) = parse(&text) {
            prop_assert_eq!(parse(&spec.to_string()), Ok(spec));
        }
    }
}

fn values_of(text: &str) -> Vec<Value> {
    match parse(text) {
        Ok(Spec::Relation(relation)) => relation.values,
        other => panic!("{text}: {other:?}"),
    }
}

fn word(text: &str) -> Value {
    Value::Literal(text.to_owned())
}

fn reference(name: &str) -> Value {
    Value::Reference(vec![word(name)])
}

#[test]
fn each_way_of_quoting_gives_its_text() {
    for (text, expected) in [
        ("a=b-c/d:e.f_g@h&i", "b-c/d:e.f_g@h&i"),
        ("a=\"b \"\"c\"\" 'd'\"", "b \"c\" 'd'"),
        ("a='b ''c'' \"d\"'", "b 'c' \"d\""),
        ("a=^|b||c|", "b|c"),
        ("a=\"\"", ""),
        ("(* one *)a(* two *) = (* *) b (**)", "b"),
    ] {
        assert_eq!(values_of(text), [word(expected)], "{text}");
    }
}

#[test]
fn nearness_joins_bare_words_with_references_and_nothing_else() {
    let joined = |parts: &[Value]| vec![Value::Concatenation(parts.to_vec())];
    assert_eq!(values_of("a=b # c#d"), joined(&[word("b"), word("c"), word("d")]));
    assert_eq!(values_of("a=b$(X)c"), joined(&[word("b"), reference("X"), word("c")]));
    assert_eq!(values_of("a=$(X)$(Y)"), joined(&[reference("X"), reference("Y")]));
    assert_eq!(values_of("a=b $(X) c"), [word("b"), reference("X"), word("c")]);
    assert_eq!(values_of("a=\"b\"$(X)(*c*)c"), [word("b"), reference("X"), word("c")]);
    assert_eq!(values_of("a=(b)$(X)'c'"), [Value::Sequence(vec![word("b")]), reference("X"), word("c")]);
}

#[test]
fn a_wrong_text_is_refused_where_it_goes_wrong() {
    for (text, offset) in [
        ("", 0),
        ("(a=b)", 0),
        ("&", 1),
        ("&(a=b", 5),
        ("&(a=b))", 6),
        ("a=", 2),
        ("a b=c", 2),
        ("a=()", 3),
        ("a==b", 2),
        ("a=b#", 4),
        ("a=b$X", 4),
        ("$(X)=b", 0),
        ("a=\"b", 2),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.offset, offset, "{text}: {error}");
    }
}

#[test]
fn nesting_is_followed_to_its_bound_and_no_further() {
    let nested = |depth: usize| format!("a={}b{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(DEEPEST_NESTING)).is_ok());
    let error = parse(&nested(DEEPEST_NESTING + 1)).expect_err("too deep");
    assert_eq!(error.kind, ParseErrorKind::TooDeep);
    assert!(parse(&"&(".repeat(500_000)).is_err());
}
