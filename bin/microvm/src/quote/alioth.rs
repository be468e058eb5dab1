// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values for Alioth, which go by reference when they hold what separates others.

/// The values that are passed beside the options they belong to, each as `-o NAME,VALUE`.
#[derive(Debug, Default)]
pub struct Objects {
    waiting: Vec<String>,
    count: usize,
}

impl Objects {
    /// A value as it stands in its option: itself, or the name of an object.
    pub fn text(&mut self, text: &str) -> String {
        if Self::is_plain(text) { text.to_owned() } else { self.add(text) }
    }

    /// The same for an option that may be absent. Of such a one the object is read like an option
    /// again, so that it has to be the name of another object.
    pub fn optional(&mut self, text: &str) -> String {
        if Self::is_plain(text) {
            return text.to_owned();
        }
        let inner = self.add(text);
        self.add(&inner)
    }

    /// Hands over what was collected since the last time.
    pub fn take(&mut self) -> Vec<String> {
        self.count += self.waiting.len();
        std::mem::take(&mut self.waiting)
    }

    fn is_plain(text: &str) -> bool {
        !text.contains([',', '=']) && !text.starts_with("id_")
    }

    fn add(&mut self, text: &str) -> String {
        let name = format!("id_{}", self.count + self.waiting.len() + 1);
        self.waiting.push(format!("{name},{text}"));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_goes_by_reference() {
        let mut objects = Objects::default();
        assert_eq!(objects.text("a b"), "a b");
        assert_eq!(objects.text("a,b"), "id_1");
        assert_eq!(objects.take(), ["id_1,a,b"]);
        assert_eq!(objects.optional("id_x"), "id_3");
        assert_eq!(objects.take(), ["id_2,id_x", "id_3,id_2"]);
    }
}
