//! Answers in a file, in place of servers that are not to be asked while a plugin is developed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::Uri;
use usher_event::GivenAnswer;

use super::answers::Answers;

/// Limit on the file.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Answers that stand in for the servers of their URLs, again and again.
pub(crate) struct StandIns {
    /// A list of [`GivenAnswer`] as JSON; read again when it changes.
    file: PathBuf,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    modified: Option<SystemTime>,
    answers: Option<Arc<Answers>>,
}

impl StandIns {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, read: Mutex::default() }
    }

    /// The answers, if there is one for a method and URL.
    pub(super) fn to(&self, method: &str, uri: &Uri) -> Option<Arc<Answers>> {
        let read = &mut *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let about = std::fs::metadata(&self.file);
        let modified = about.as_ref().ok().and_then(|about| about.modified().ok());
        if modified != read.modified {
            let answers = match about {
                Ok(about) if about.len() <= FILE_MAX_BYTES => self.read(),
                Ok(_) => Err(format!("it has more than {FILE_MAX_BYTES} bytes")),
                Err(error) => Err(error.to_string()),
            };
            if let Err(words) = &answers {
                tracing::warn!(file = %self.file.display(), "answers can't be read: {words}");
            }
            *read = Read { modified, answers: answers.ok().map(Arc::new) };
        }
        let answers = read.answers.as_ref()?;
        answers.has(method, uri).then(|| Arc::clone(answers))
    }

    fn read(&self) -> Result<Answers, String> {
        let json = std::fs::read(&self.file).map_err(|error| error.to_string())?;
        let given: Vec<GivenAnswer> =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        Answers::new(&given, true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("answers.json");
        let stand_ins = StandIns::new(file.clone());
        let stands_in =
            |method: &str| stand_ins.to(method, &"http://a.test/".parse().unwrap()).is_some();
        assert!(!stands_in("GET"));
        let mut written = SystemTime::now();
        let mut write = |text: &str| {
            fs::write(&file, text).unwrap();
            // Whatever the file system's clock says.
            written += Duration::from_secs(1);
            fs::File::options().append(true).open(&file).unwrap().set_modified(written).unwrap();
        };
        write(r#"[{"url": "http://a.test", "status": 200}]"#);
        assert!(stands_in("GET") && !stands_in("POST"));
        write("[");
        assert!(!stands_in("GET"));
        write(r#"[{"method": "POST", "url": "http://a.test", "status": 200}]"#);
        assert!(stands_in("POST") && !stands_in("GET"));
    }
}
