//! Collects what is wrong with a configuration while its reading goes on.

use std::cell::RefCell;
use std::path::Path;

use super::contents::Contents;
use super::document::Place;
use super::finding::{Finding, Severity};
use super::source::{Fault, Source};

/// What has been found so far.
pub(super) struct Notes<'a> {
    source: &'a Source,
    findings: RefCell<Vec<Finding>>,
    hidden: RefCell<Vec<Place>>,
    contents: RefCell<Contents>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            findings: RefCell::default(),
            hidden: RefCell::default(),
            contents: RefCell::default(),
        }
    }

    pub(super) fn add(
        &self,
        severity: Severity,
        place: Option<Place>,
        path: impl Into<String>,
        fault: Fault,
    ) {
        let finding = Finding::new(severity, self.source, place, path, fault);
        self.findings.borrow_mut().push(finding);
    }

    /// Notes a mistake about the file as a whole.
    pub(super) fn add_whole(&self, message: &str, mend: &str) {
        self.add(Severity::Mistake, None, "", Fault::new(message, mend));
    }

    /// Keeps what stands at `place`, and to the end of its line, out of every excerpt.
    pub(super) fn hide(&self, place: Place) {
        self.hidden.borrow_mut().push(place);
    }

    /// Notes that the configuration is what is in `file`, which is `text`.
    pub(super) fn read(&self, file: &Path, text: &str) {
        self.contents.borrow_mut().note(file, text);
    }

    /// What the configuration was read from.
    pub(super) fn contents(&self) -> Contents {
        self.contents.borrow().clone()
    }

    /// All findings in the order of the file. What an alias repeats is told once.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        for finding in &mut findings {
            for place in self.hidden.borrow().iter() {
                finding.hide(*place);
            }
        }
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        findings.dedup_by(|a, b| a.order() == b.order());
        findings
    }
}
