// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Manual pages in mdoc(7), as far as the checks read them: sections, list items, references.
//!
//! Owns the cutting; `mandoc` judges the language itself. An item knows the section it stands in
//! and the item that its list is nested in, so that an option of a subcommand is told from an
//! option of the program.

/// One `.It` of a tagged list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The section, such as `OPTIONS`, or the subsection inside it.
    pub section: String,
    /// The first [`Item::names`] entry of the item around it; empty at the outermost level.
    pub parent: String,
    /// What `Cm` marks.
    pub names: Vec<String>,
    /// What `Fl` marks, with its dashes.
    pub flags: Vec<String>,
    /// What `Ar` marks, outside options.
    pub arguments: Vec<String>,
    /// The words of the tag that stand for themselves, cut where another thing is named.
    pub literal: Vec<String>,
    /// The text below, without macros, on one line.
    pub body: String,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The sections in order.
    pub sections: Vec<String>,
    /// All items of all tagged lists.
    pub items: Vec<Item>,
    /// All references to pages: name and section.
    pub references: Vec<(String, String)>,
    /// The literal displays, with the section each stands in.
    pub displays: Vec<(String, String)>,
}

/// Reads a page.
#[must_use]
pub fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let (mut section, mut display) = (String::new(), None::<String>);
    // The items that are open, outermost first, as indices.
    let mut open: Vec<Option<usize>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(".\\\"")) {
        if let Some(shown) = &mut display {
            if line.starts_with(".Ed") {
                page.displays.push((section.clone(), display.take().unwrap_or_default()));
            } else {
                shown.push_str(&line.replace("\\e", "\\"));
                shown.push('\n');
            }
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first().copied() {
            Some(".Sh") => {
                section = words.get(1..).unwrap_or_default().join(" ");
                page.sections.push(section.clone());
            }
            Some(".Ss") => section = words.get(1..).unwrap_or_default().join(" "),
            Some(".Bd") => display = Some(String::new()),
            Some(".Bl") => open.push(None),
            Some(".El") => drop(open.pop()),
            Some(".It") => {
                if let Some(last) = open.last_mut() {
                    *last = None;
                }
                add_body(&mut page, &open, &words); // what is nested belongs to the item around it
                let outer =
                    open.len().checked_sub(2).and_then(|at| open.get(at).copied().flatten());
                let parent = outer
                    .and_then(|at| page.items.get(at))
                    .and_then(|item| item.names.first().cloned())
                    .unwrap_or_default();
                let mut item = Item { section: section.clone(), parent, ..Item::default() };
                read_tag(&words, &mut item);
                page.items.push(item);
                if let Some(last) = open.last_mut() {
                    *last = Some(page.items.len() - 1);
                }
            }
            Some(".Xr") => {
                if let (Some(name), Some(number)) = (words.get(1), words.get(2)) {
                    page.references.push(((*name).to_owned(), (*number).to_owned()));
                }
                add_body(&mut page, &open, &words);
            }
            _ => add_body(&mut page, &open, &words),
        }
    }
    page
}

fn add_body(page: &mut Page, open: &[Option<usize>], words: &[&str]) {
    for at in open.iter().copied().flatten() {
        let Some(item) = page.items.get_mut(at) else { continue };
        for word in words.iter().filter(|word| !is_macro(word) && !word.starts_with('.')) {
            item.body.push_str(word.trim_start_matches("\\&"));
            item.body.push(' ');
        }
    }
}

/// Two letters, the first a capital: what mdoc calls its macros.
fn is_macro(word: &str) -> bool {
    let mut chars = word.chars();
    let shape = (chars.next(), chars.next(), chars.next());
    matches!(shape, (Some(a), Some(b), None) if a.is_ascii_uppercase() && b.is_ascii_lowercase())
}

/// Takes the marked words of an item; what is optional (`Op` to the end, `Oo` to `Oc`) says how to
/// write the item and belongs to others.
fn read_tag(words: &[&str], item: &mut Item) {
    let (mut role, mut optional, mut literal) = ("", false, String::new());
    for word in words.iter().skip(1) {
        if matches!(*word, "Ar" | "Cm" | "Fl" | "Pa" | "Ev") && !literal.is_empty() {
            item.literal.push(std::mem::take(&mut literal));
        }
        match *word {
            "Op" => break,
            "Oo" | "Oc" => optional = *word == "Oo",
            _ if optional => {}
            word if is_macro(word) => role = word,
            word if word.chars().all(|c| c.is_ascii_punctuation()) => {}
            word => match role {
                "Fl" => item.flags.push(format!("-{word}")),
                "Cm" => item.names.push(word.to_owned()),
                "Ar" => item.arguments.push(word.to_owned()),
                "" | "No" | "Ns" => {
                    let word = word.replace("\\(dq", "\"").replace("\\&", "");
                    literal.push_str(if literal.is_empty() { "" } else { " " });
                    literal.push_str(&word);
                }
                _ => {}
            },
        }
    }
    if !literal.is_empty() {
        item.literal.push(literal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
.Sh OPTIONS
.Bl -tag -width Ds
.It Fl f , Fl -file Ar FILE
Read
.Ar FILE ,
by default none.
.It Fl -quiet
.El
.Sh COMMANDS
.Bl -tag -width Ds
.It Cm save Oo Fl f Ar FILE Oc Ar NAME
See
.Xr other 5 .
.Bl -tag -width Ds
.It Fl -force
Really.
.El
.It Cm one , two
.It Ar TID No - got \\(dqx\\(dq (n= Ns Ar N Ns ).
.El
.Bd -literal
a\\en
.Ed
";

    #[test]
    fn items_know_their_place_and_their_words() {
        let page = parse(PAGE);
        assert_eq!(page.sections, ["OPTIONS", "COMMANDS"]);
        assert_eq!(page.references, [("other".to_owned(), "5".to_owned())]);
        assert_eq!(page.displays, [("COMMANDS".to_owned(), "a\\n\n".to_owned())]);
        let [file, quiet, save, force, pair, message] = page.items.as_slice() else {
            panic!("{:?}", page.items);
        };
        assert_eq!(
            (file.flags.join(" "), file.arguments.join(" ")),
            ("-f --file".into(), "FILE".into())
        );
        assert_eq!(file.body, "Read FILE , by default none. ");
        assert_eq!(quiet.flags, ["--quiet"]);
        assert_eq!(
            (save.names.join(" "), save.arguments.join(" ")),
            ("save".into(), "NAME".into())
        );
        assert!(save.flags.is_empty());
        assert_eq!((force.parent.as_str(), force.flags.join(" ")), ("save", "--force".into()));
        assert_eq!(pair.names, ["one", "two"]);
        assert_eq!(pair.section, "COMMANDS");
        assert_eq!(message.literal, ["got \"x\" (n="]);
    }
}
