// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers clients, of the bus and of the control socket alike, and follows stafd.

use std::io;

use plinth::event::Loop;
use serde_json::Value;

use super::Daemon;
use crate::core::api::{self, Reply, Request};
use crate::core::machine::Machine;
use crate::core::port::Input;
use crate::shell::ask::Ask;
use crate::shell::bus::News;
use crate::shell::key::Key;
use crate::shell::sysfs::Sysfs;

/// Questions answered in one round.
const QUESTIONS_MAX: usize = 64;

impl api::Sysfs for Sysfs {
    fn attribute(&self, device: &str, name: &str) -> Option<String> {
        self.shown(device, name)
    }
}

impl<C: Machine> Daemon<C> {
    /// Takes what clients and stafd have said.
    ///
    /// # Errors
    /// The loop cannot change a watch.
    pub(super) fn serve(&mut self, lp: &mut Loop<Key>) -> io::Result<()> {
        for _ in 0..QUESTIONS_MAX {
            let Some(news) = self.front.next_news() else { break };
            match news {
                News::Call(id, ask) => {
                    let reply = self.answer(lp, ask)?;
                    self.front.reply(id, reply);
                }
                News::NameTaken => {
                    let name = self.front.name();
                    self.failure = Some(format!("another process owns the bus name {name}"));
                    lp.stop(1);
                }
                News::Stafd(owner) => {
                    if let Some(peer) = &mut self.peer {
                        peer.owner(lp, owner)?;
                    }
                }
                News::Heard(event) => {
                    if let Some(peer) = &mut self.peer {
                        peer.heard(event);
                    }
                }
                News::Answer(token, result) => {
                    if let Some(peer) = &mut self.peer {
                        peer.answered(token, result);
                    }
                }
            }
        }
        for _ in 0..QUESTIONS_MAX {
            let Some(question) = self.server.as_mut().and_then(|s| s.next_question()) else {
                break;
            };
            let reply = self.answer(lp, question.ask.clone())?;
            if let Some(server) = &mut self.server {
                server.reply(lp, &question, reply)?;
            }
        }
        if let Some(peer) = &mut self.peer {
            self.inputs.extend(peer.take_events().into_iter().map(Input::Stafd));
        }
        Ok(())
    }

    fn answer(&mut self, lp: &mut Loop<Key>, ask: Ask) -> io::Result<Reply> {
        let request = match ask {
            Ask::Core(request) => request,
            Ask::Reload => {
                self.reload(lp);
                return Ok(Reply::Unit);
            }
            Ask::Rescan => {
                self.inputs.push_back(Input::EventsLost);
                return Ok(Reply::Unit);
            }
        };
        let mut actions = Vec::new();
        let reply = self.core.answer(lp.now(), &request, &self.sysfs, &mut actions);
        self.carry_out(lp, actions)?;
        Ok(match (request, reply) {
            (Request::ProcessInfo, Reply::Json(text)) => {
                let longest = lp.longest_turn().as_secs_f64() * 1000.0;
                Reply::Json(with(&text, "loop.max_ms", longest.into()))
            }
            (_, reply) => reply,
        })
    }
}

/// The JSON object in `text` with one key more.
fn with(text: &str, key: &str, value: Value) -> String {
    match serde_json::from_str(text) {
        Ok(Value::Object(mut object)) => {
            object.insert(key.to_owned(), value);
            Value::Object(object).to_string()
        }
        _ => text.to_owned(),
    }
}
