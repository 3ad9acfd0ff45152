//! Error codes: the chapters list all that `slack.failed` may have in `error` and that are ours.

use std::collections::BTreeSet;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, Item, ItemConst, Lit};

use crate::code::{Literals, is_of_tests, parsed, root_file, sources};
use crate::markdown::{chapter, codes, root, rows};

/// A sentence's reason within the bridge, which becomes no outcome: it is why a history could not be looked at.
const WITHIN: [&str; 2] = ["history_limited", "too_much_history"];

/// All codes that `SendFailure::new` is called with.
#[derive(Default)]
struct Codes {
    constants: Vec<(String, String)>,
    found: BTreeSet<String>,
    named: Vec<String>,
    unknown: Vec<String>,
}

impl Codes {
    /// Those of a folder below the top, without its tests.
    fn of(folder: &str) -> Self {
        let mut files = Vec::new();
        sources(&root().join(folder), &mut files);
        let mut codes = Self::default();
        for file in files.iter().filter(|it| !is_test(it)) {
            codes.visit_file(&parsed(file));
        }
        codes
    }
}

fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(it) => match &it.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

impl<'a> Visit<'a> for Codes {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Mod(it) if is_of_tests(&it.attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_const(&mut self, it: &'a ItemConst) {
        if let Some(text) = literal(&it.expr) {
            self.constants.push((it.ident.to_string(), text));
        }
    }

    fn visit_expr_call(&mut self, call: &'a ExprCall) {
        visit::visit_expr_call(self, call);
        let Expr::Path(function) = &*call.func else {
            return;
        };
        let path: Vec<_> = function
            .path
            .segments
            .iter()
            .map(|it| it.ident.to_string())
            .collect();
        let is_it = matches!(&path[..], [.., of, new] if new == "new" && (of == "SendFailure" || of == "Self"));
        let (true, Some(first)) = (is_it, call.args.first()) else {
            return;
        };
        match (literal(first), first) {
            (Some(code), _) => {
                self.found.insert(code);
            }
            (None, Expr::Path(path))
                if path.path.is_ident("error") || path.path.is_ident("code") => {}
            (None, Expr::Path(path)) => {
                let last = path.path.segments.last().unwrap();
                self.named.push(last.ident.to_string());
            }
            (None, Expr::MethodCall(it)) if it.method == "code" => {}
            (None, _) => self
                .unknown
                .push("an expression of another kind".to_owned()),
        }
    }
}

/// The codes of the bridge, and the words that the client of the Web API has for failures.
fn there() -> BTreeSet<String> {
    let mut codes = Codes::of("host/djangobot/src/bridge");
    for name in &codes.named {
        let value = codes.constants.iter().find(|(it, _)| it == name);
        match value {
            Some((_, code)) => {
                codes.found.insert(code.clone());
            }
            None => codes.unknown.push(name.clone()),
        }
    }
    assert!(
        codes.unknown.is_empty(),
        "a code of an error is neither a literal nor a constant, nor passed on: {:?}",
        codes.unknown
    );
    let of_calls = Literals::of_function(&root_file("host/slack/src/api/error.rs"), "code");
    let without_code = Literals::of_function(&root_file("host/slack/src/api/answer.rs"), "judge");
    let without_code = without_code.into_iter().filter(|it| it.ends_with("_error"));
    codes.found.extend(of_calls);
    codes.found.extend(without_code);
    codes.found.retain(|it| !WITHIN.contains(&it.as_str()));
    codes.found
}

fn is_test(file: &Path) -> bool {
    file.file_name().is_some_and(|it| it == "tests.rs")
        || file.components().any(|it| it.as_os_str() == "tests")
}

fn listed(name: &str) -> BTreeSet<String> {
    let rows = rows(&chapter(name), &["error", "meaning"]);
    rows.iter().flat_map(|row| codes(&row[0])).collect()
}

#[test]
fn the_chapters_list_each_code_and_no_other() {
    let there = there();
    let messages = listed("messages-out.md");
    let answers = listed("interactions.md");
    let listed: BTreeSet<_> = messages.union(&answers).cloned().collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    // Slack's own, which stands there as an example.
    let gone: Vec<_> = listed
        .difference(&there)
        .filter(|it| *it != "invalid_blocks")
        .collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not listed: {missing:?}; not in the code: {gone:?}"
    );
    assert!(there.contains("too_old") && there.len() > 25, "{there:?}");
}

#[test]
fn codes_of_answers_stand_with_answers() {
    let missing: Vec<_> = Codes::of("host/djangobot/src/bridge/inbound")
        .found
        .difference(&listed("interactions.md"))
        .cloned()
        .collect();
    assert!(missing.is_empty(), "not listed: {missing:?}");
}
