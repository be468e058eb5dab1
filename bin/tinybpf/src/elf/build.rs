// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes object files for tests: sections and symbols of either byte order.

use crate::btf::ByteOrder;

/// A file under construction.
pub(crate) struct Object {
    pub(crate) order: ByteOrder,
    pub(crate) machine: u16,
    sections: Vec<(String, u32, u64, Vec<u8>)>,
    symbols: Vec<u8>,
    names: Vec<u8>,
}

impl Object {
    pub(crate) fn new(order: ByteOrder) -> Self {
        let mut object =
            Self { order, machine: 247, sections: Vec::new(), symbols: Vec::new(), names: vec![0] };
        object.symbol("", 0, 0, 0, 0);
        object
    }

    fn half(&self, word: u16) -> [u8; 2] {
        match self.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        }
    }

    fn word(&self, word: u32) -> [u8; 4] {
        match self.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        }
    }

    fn long(&self, word: u64) -> [u8; 8] {
        match self.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        }
    }

    /// Adds a section: 1 with bytes, 8 without; flags 4 for code. Returns its number.
    pub(crate) fn section(&mut self, name: &str, kind: u32, flags: u64, data: &[u8]) -> u16 {
        self.sections.push((name.to_owned(), kind, flags, data.to_vec()));
        u16::try_from(self.sections.len()).expect("few")
    }

    /// Adds a symbol; `info` is binding and type.
    pub(crate) fn symbol(&mut self, name: &str, info: u8, section: u16, offset: u64, size: u64) {
        let at = u32::try_from(self.names.len()).expect("short");
        let at = if name.is_empty() { 0 } else { at };
        if !name.is_empty() {
            self.names.extend(name.as_bytes());
            self.names.push(0);
        }
        let fields = [
            &self.word(at)[..],
            &[info, 0],
            &self.half(section),
            &self.long(offset),
            &self.long(size),
        ]
        .concat();
        self.symbols.extend(fields);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = self.sections.clone();
        let symbols = all.len() + 1;
        all.push((".symtab".to_owned(), 2, 0, self.symbols.clone()));
        all.push((".strtab".to_owned(), 3, 0, self.names.clone()));
        let mut names = vec![0];
        let mut body = Vec::new();
        let mut headers = vec![0; 64];
        all.push((".shstrtab".to_owned(), 3, 0, Vec::new()));
        let name_bytes: Vec<u8> =
            all.iter().flat_map(|it| [it.0.as_bytes(), &[0]].concat()).collect();
        let last = all.len() - 1;
        all[last].3 = [&[0], &name_bytes[..]].concat();
        for (name, kind, flags, data) in &all {
            let at = u32::try_from(names.len()).expect("short");
            names.extend(name.as_bytes());
            names.push(0);
            let (link, entry) = if *kind == 2 { (symbols + 1, 24) } else { (0, 0) };
            let offset = u64::try_from(64 + body.len()).expect("short");
            headers.extend(self.word(at));
            headers.extend(self.word(*kind));
            for field in [*flags, 0, offset, u64::try_from(data.len()).expect("short")] {
                headers.extend(self.long(field));
            }
            headers.extend(self.word(u32::try_from(link).expect("few")));
            headers.extend(self.word(0));
            headers.extend(self.long(1));
            headers.extend(self.long(entry));
            if *kind != 8 {
                body.extend(data);
            }
        }
        let order = if self.order == ByteOrder::Little { 1 } else { 2 };
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, order, 1];
        file.resize(16, 0);
        file.extend(self.half(1));
        file.extend(self.half(self.machine));
        file.extend(self.word(1));
        let place = u64::try_from(64 + body.len()).expect("short");
        [0, 0, place].iter().for_each(|word| file.extend(self.long(*word)));
        file.extend(self.word(0));
        let count = u16::try_from(all.len() + 1).expect("few");
        for half in [64, 0, 0, 64, count, count - 1] {
            file.extend(self.half(half));
        }
        [file, body, headers].concat()
    }
}
