//! Record of a batch that has ended, in one piece of memory.

use std::mem;

use crate::control::request::BatchRecord;

/// Separator of texts. None of them contains it: paths and messages are escaped.
const SEPARATOR: &str = "\0";

/// Record whose texts are joined. Many small pieces that live for a while would keep the pages
/// between them from being returned.
#[derive(Debug)]
pub(super) struct KeptRecord {
    /// The record without its texts.
    pub(super) bare: BatchRecord,
    /// The sync, the outcome, the message if there is one, and the names.
    texts: Box<str>,
    has_message: bool,
}

impl KeptRecord {
    pub(super) fn new(mut record: BatchRecord) -> Self {
        let (sync, outcome) = (mem::take(&mut record.sync), mem::take(&mut record.outcome));
        let (message, names) = (record.message.take(), mem::take(&mut record.names));
        let has_message = message.is_some();
        let texts: Vec<String> = [sync, outcome].into_iter().chain(message).chain(names).collect();
        Self { bare: record, texts: texts.join(SEPARATOR).into(), has_message }
    }

    /// Returns the whole record.
    pub(super) fn record(&self) -> BatchRecord {
        let mut texts = self.texts.split(SEPARATOR).map(String::from);
        let sync = texts.next().unwrap_or_default();
        let outcome = texts.next().unwrap_or_default();
        let message = if self.has_message { texts.next() } else { None };
        BatchRecord { sync, outcome, message, names: texts.collect(), ..self.bare.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_as_it_is() {
        let names = [vec![], vec!["/a".to_owned()], vec![String::new(), "/b c".to_owned()]];
        for names in names {
            for message in [None, Some(String::new()), Some("it failed".to_owned())] {
                let record = BatchRecord {
                    number: 7,
                    sync: "web".into(),
                    started: 1.5,
                    duration: 0.25,
                    lag: Some(0.1),
                    is_full: true,
                    paths: 2,
                    names: names.clone(),
                    outcome: "failed".into(),
                    code: Some(23),
                    message,
                    sent_bytes: None,
                    deleted: Some(1),
                };
                assert_eq!(KeptRecord::new(record.clone()).record(), record);
            }
        }
    }
}
