//! Which of many strings does a text start with? A trie whose nodes lie in one array, children side by side.

/// A trie of byte strings with their ids.
pub(crate) struct Prefixes {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    byte: u8,
    /// The string that ends here.
    id: Option<u32>,
    /// Children: `nodes[first..first + count]`, ordered by byte.
    first: u32,
    count: u16,
}

impl Prefixes {
    /// A trie of `strings`; of equal ones the last counts, empty ones are left out.
    pub(crate) fn new<'a>(strings: impl Iterator<Item = (&'a [u8], u32)>) -> Self {
        let mut strings: Vec<(&[u8], u32)> = strings.filter(|(string, _)| !string.is_empty()).collect();
        strings.sort_by_key(|&(string, _)| string);
        let mut nodes = vec![Node { byte: 0, id: None, first: 0, count: 0 }];
        // Nodes waiting for children: (node, range of strings that pass through it, depth).
        let mut waiting = std::collections::VecDeque::from([(0usize, 0..strings.len(), 0usize)]);
        while let Some((node, range, depth)) = waiting.pop_front() {
            let first = nodes.len();
            let mut at = range.start;
            while at < range.end && strings[at].0.len() == depth {
                nodes[node].id = Some(strings[at].1);
                at += 1;
            }
            while at < range.end {
                let byte = strings[at].0[depth];
                let len = strings[at..range.end].partition_point(|(string, _)| string[depth] == byte);
                waiting.push_back((nodes.len(), at..at + len, depth + 1));
                nodes.push(Node { byte, id: None, first: 0, count: 0 });
                at += len;
            }
            nodes[node].first = first as u32;
            nodes[node].count = (nodes.len() - first) as u16;
        }
        Prefixes { nodes }
    }

    /// Every string that `text` starts with, shortest first: its length and id.
    pub(crate) fn all<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = self.nodes[0];
        text.iter()
            .enumerate()
            .map_while(move |(index, &byte)| {
                let children = &self.nodes[node.first as usize..][..usize::from(node.count)];
                // All 256 bytes present is common at the root: then the byte is the index.
                let at = match children.get(usize::from(byte)) {
                    Some(child) if child.byte == byte => usize::from(byte),
                    _ => children.binary_search_by_key(&byte, |child| child.byte).ok()?,
                };
                node = children[at];
                Some((index + 1, node.id))
            })
            .filter_map(|(len, id)| Some((len, id?)))
    }

    /// The longest string that `text` starts with.
    pub(crate) fn longest(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.all(text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_prefix() {
        let strings: [(&[u8], u32); 6] =
            [(b"ab", 1), (b"abcd", 2), (b"b", 3), (b"", 4), (b"abd", 5), (b"ab", 6)];
        let trie = Prefixes::new(strings.into_iter());
        assert_eq!(trie.all(b"abcde").collect::<Vec<_>>(), [(2, 6), (4, 2)]);
        assert_eq!(trie.longest(b"abd"), Some((3, 5)));
        assert_eq!(trie.longest(b"a"), None);
        assert_eq!(trie.longest(b""), None);
        assert_eq!(trie.longest(b"bb"), Some((1, 3)));
        assert_eq!(Prefixes::new(std::iter::empty()).longest(b"x"), None);
    }

    #[test]
    fn a_full_root_is_indexed() {
        let bytes: Vec<[u8; 1]> = (0..=255).map(|byte| [byte]).collect();
        let trie = Prefixes::new(bytes.iter().map(|b| (&b[..], u32::from(b[0]))));
        for byte in 0..=255 {
            assert_eq!(trie.longest(&[byte, 7]), Some((1, u32::from(byte))));
        }
    }
}
