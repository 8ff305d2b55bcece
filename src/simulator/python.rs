//! Python's way of printing: vLLM's refusals repeat what was sent as Python shows it, and its metrics
//! carry Python's numbers.

use serde_json::Value;

/// A JSON value as Python's `repr` prints it.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => python_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let pair = |(name, value): (&String, &Value)| {
                format!("{}: {}", python_text(name), repr(value))
            };
            let fields: Vec<String> = fields.iter().map(pair).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => shown.extend(['\\', c]),
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

/// A number as `prometheus_client` prints it: Python's `repr`, but with an exponent from 1e6 on.
pub(super) fn number(value: f64) -> String {
    if value == f64::INFINITY {
        return "+Inf".into();
    }
    let plain = format!("{value:?}");
    match plain.split_once('.') {
        Some((whole, fraction)) if value > 0.0 && whole.len() > 6 => {
            let (first, rest) = whole.split_at(1);
            let mantissa = format!("{first}.{rest}{fraction}");
            let mantissa = mantissa.trim_end_matches(['0', '.']);
            format!("{mantissa}e+0{}", rest.len())
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_python() {
        for (json, shown) in [
            (r#"[null, true, 1, 0.5]"#, "[None, True, 1, 0.5]"),
            (r#"{"a": "it's"}"#, r#"{'a': "it's"}"#),
            (r#""it's \"so\"\n""#, r#"'it\'s "so"\n'"#),
        ] {
            assert_eq!(repr(&serde_json::from_str(json).unwrap()), shown);
        }
    }

    #[test]
    fn numbers_look_as_python_makes_them() {
        for (value, shown) in [
            (0.0, "0.0"),
            (386.0, "386.0"),
            (46073.0, "46073.0"),
            (783.6856677490055, "783.6856677490055"),
            (1416585216.0, "1.416585216e+09"),
            (1795489570.53, "1.79548957053e+09"),
            (1_000_000.0, "1e+06"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(number(value), shown);
        }
    }
}
