//! Which host ports are taken: answered from memory, without a message or a statement.

use common::ledger::PortState;
use common::name::{OrderId, RegionCode};
use common::port::{HostPort, PortError, PortNumber, Protocol};
use serde_json::Value;

use super::App;
use super::error::AppError;
use super::json::{Field, Problems};

/// The most ports of one question.
const MAX_PORTS: usize = 1024;

/// The answer's word (the guide, "Host port occupation validation").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortsStatus {
    /// There is no such region.
    NoResource,
    /// It cannot be told at the moment.
    InternalErr,
    /// At least one is taken.
    PortsOccupied,
    /// All are free.
    NotOccupied,
}

/// What is known of some ports.
#[derive(Debug)]
pub struct PortsAnswer {
    /// The word.
    pub status: PortsStatus,
    /// Those that are taken, in the order in which they were asked.
    pub occupied: Vec<PortNumber>,
}

/// A question, read.
struct Question {
    region: String,
    ports: Vec<PortNumber>,
    order: Option<String>,
    protocol: Protocol,
}

impl App {
    /// The regions that have a live worker, sorted.
    pub fn regions(&self) -> Vec<RegionCode> {
        self.bus.regions.live()
    }

    /// Whether a region has a live worker.
    pub fn is_live(&self, region: &RegionCode) -> bool {
        self.bus.regions.is_live(region)
    }

    /// Which of some ports are taken in a region.
    ///
    /// # Errors
    /// The guide's `item field empty`, or every problem of the body.
    pub fn check_ports(&self, body: &Value) -> Result<PortsAnswer, AppError> {
        let question = read(body)?;
        let nothing = |status| PortsAnswer { status, occupied: Vec::new() };
        if !self.bus.regions.is_fresh() {
            return Ok(nothing(PortsStatus::InternalErr));
        }
        let region = RegionCode::from_name(&question.region).ok().filter(|region| self.bus.regions.is_live(region));
        let Some(region) = region else { return Ok(nothing(PortsStatus::NoResource)) };
        let order = question.order.and_then(|id| id.parse::<OrderId>().ok());
        let host = |port: &PortNumber| HostPort { protocol: question.protocol, port: *port };
        let ports: Vec<HostPort> = question.ports.iter().map(host).collect();
        match self.bus.ledger.occupied(&region, &ports, order.as_ref()) {
            Err(_) => Ok(nothing(PortsStatus::InternalErr)),
            Ok(taken) if taken.is_empty() => Ok(nothing(PortsStatus::NotOccupied)),
            Ok(taken) => Ok(PortsAnswer {
                status: PortsStatus::PortsOccupied,
                occupied: taken.into_iter().map(|host| host.port).collect(),
            }),
        }
    }

    /// The host ports that an order holds, and how.
    pub(super) fn held_ports(&self, region: &RegionCode, order: &OrderId) -> Vec<(HostPort, &'static str)> {
        let word = |state: &PortState| match state {
            PortState::Reserved { .. } => "reserved",
            PortState::Bound { .. } => "bound",
            PortState::Cooling { .. } => "cooling",
        };
        let held = self.bus.ledger.held_by(region, order);
        held.iter().map(|(host, state)| (*host, word(state))).collect()
    }
}

fn read(body: &Value) -> Result<Question, AppError> {
    let mut problems = Problems::default();
    let question = read_body(body, &mut problems)?;
    match question {
        Some(question) if problems.is_empty() => Ok(question),
        _ => Err(AppError::invalid(problems)),
    }
}

fn read_body(body: &Value, problems: &mut Problems) -> Result<Option<Question>, AppError> {
    let Some(mut body) = Field::root(body).object(problems) else { return Ok(None) };
    let (region, ports) = (body.optional_text("region"), body.optional("ports"));
    let (Some(region), Some(ports)) = (region, ports.filter(|ports| !ports.is_empty_list())) else {
        // The guide's own text, which clients may match.
        return Err(AppError::new(common::failure::Reason::InvalidRequest, "item field empty"));
    };
    let region = region.short_text(256, problems);
    let ports = ports.list(problems).and_then(|items| {
        if items.len() > MAX_PORTS {
            return ports.wrong(format!("must have at most {MAX_PORTS} entries"), problems);
        }
        let mut seen = std::collections::BTreeSet::new();
        let read: Vec<Option<PortNumber>> =
            items.iter().map(|item| item.integer(PortNumber::try_from, problems)).collect();
        let read: Option<Vec<PortNumber>> = read.into_iter().collect();
        Some(read?.into_iter().filter(|port| seen.insert(*port)).collect())
    });
    let order = match body.optional_text("userServiceID") {
        Some(field) => field.short_text(256, problems).map(Some),
        None => Some(None),
    };
    let protocol = match body.optional_text("protocol") {
        Some(field) => field.converted(|text| text.parse::<Protocol>().map_err(|error: PortError| error), problems),
        None => Some(Protocol::default()),
    };
    body.finish(problems);
    let question = || Some(Question { region: region?, ports: ports?, order: order?, protocol: protocol? });
    Ok(question())
}
