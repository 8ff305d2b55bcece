//! What takes an expression to pieces and moves its times: the other tests trust it.

use serde_json::json;

use super::ALERTS;
use super::rules::{self, Kind, pieces, shipped, times};

#[test]
fn pieces_of_an_expression_are_found() {
    let expression = r#"a:b_c:d2h{x="3 > 1"}[1h30m] offset 2d >= 0.5 and on (x) sum(y) == -1"#;
    let found: Vec<_> = pieces(expression)
        .into_iter()
        .map(|(kind, range)| (kind, &expression[range]))
        .collect();
    assert_eq!(
        found,
        [
            (Kind::Word, "a:b_c:d2h"),
            (Kind::Duration, "1h30m"),
            (Kind::Word, "offset"),
            (Kind::Duration, "2d"),
            (Kind::Comparison, ">="),
            (Kind::Number, "0.5"),
            (Kind::Word, "and"),
            (Kind::Word, "on"),
            (Kind::Word, "x"),
            (Kind::Word, "sum"),
            (Kind::Word, "y"),
            (Kind::Comparison, "=="),
            (Kind::Number, "1"),
        ]
    );
    assert_eq!(times("1h30m", 0.5), "2700000ms");
    assert_eq!(
        (times("1ms", 0.1), times("0s", 2.0)),
        ("1ms".to_owned(), "0ms".to_owned())
    );
}

#[test]
fn the_template_of_time_constants_moves_times_and_nothing_else() {
    for (before, after) in [
        (
            "a[1h] offset 3h < 0.93",
            "a[60000ms] offset 180000ms < 0.93",
        ),
        (
            "(time() - max_over_time(t[1h]) < 3600) * 1",
            "(time() - max_over_time(t[60000ms]) < 60) * 1",
        ),
        (
            "time() - t > 2.2 * i and on (x) r == 1",
            "time() - t > 2.2 * i and on (x) r == 1",
        ),
        ("rate_3600{le=\"90\"} > 90", "rate_3600{le=\"90\"} > 90"),
    ] {
        assert_eq!(rules::scaled_expression(before, 1.0 / 60.0), after);
    }
    let scaled = rules::scaled(rules::yaml(&shipped(ALERTS)), 1.0 / 60.0);
    let waits: Vec<_> = rules::rules(&scaled)
        .iter()
        .filter(|alert| alert["alert"] == "VllmTokenRateRegression")
        .map(|alert| [alert["for"].clone(), alert["keep_firing_for"].clone()])
        .collect();
    assert_eq!(waits, [[json!("2000ms"), json!("10000ms")]]);
    assert_eq!(scaled["groups"][0]["interval"], "500ms");
}
