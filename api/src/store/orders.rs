//! Table `orders`: what customers have paid for.

mod listing;

pub use listing::Filter;

use common::ingress::Ingress;
use common::name::{OrderId, RegionCode, Revision, Sequence};
use common::pod::Storage;
use common::quantity::Units;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use super::digest::Digest;
use super::history::{Changed, Event, Word, key_taken};
use super::jobs::{self, Job, counter};
use super::target::StoredTarget;
use super::{Store, StoreError, parsed};

/// How an order gets its host ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSpecification {
    /// The customer says which.
    User,
    /// The system assigns them from the region's range.
    Random,
}

impl PortSpecification {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Random => "random",
        }
    }
}

/// What was bought, by whom and for how long: all that is said of an order when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// How much of everything.
    pub units: Units,
    /// How it gets its host ports.
    pub port_specification: PortSpecification,
    /// Whether it keeps a volume.
    pub storage: Storage,
    /// Where it runs; none = where its first deploy says.
    pub region: Option<RegionCode>,
    /// How long it runs, in hours, from its first successful deploy on.
    pub duration_hours: u32,
    /// What was paid.
    pub amount: u64,
    /// The customer's address for letters.
    pub email: String,
    /// The customer's wallet.
    pub address: String,
    /// The merchant's wallet.
    pub recipient: String,
    /// The merchant's name.
    pub provider: String,
    /// What the service is called.
    pub service: String,
    /// Its id at the market.
    pub service_id: String,
    /// Its category's id at the market.
    pub service_category_id: String,
    /// The key that made the order at the market.
    pub public_key: String,
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// What was bought. Its region is filled in by the first accepted deploy.
    pub purchase: Purchase,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its paid time began: its first successful deploy.
    pub activated_at: Option<Timestamp>,
    /// When its paid time ends.
    pub ends_at: Option<Timestamp>,
    /// Whether its paid time is over, by PostgreSQL's clock.
    pub is_over: bool,
    /// When it was aborted.
    pub aborted_at: Option<Timestamp>,
    /// When it was deleted, long after its end.
    pub deleted_at: Option<Timestamp>,
    /// The number of the newest accepted revision.
    pub last_revision: Option<Revision>,
    /// What it is to be in its region, by the newest job that may still come true.
    pub target: Option<StoredTarget>,
    /// The sequence of that job.
    pub target_sequence: Option<Sequence>,
    /// What it is there, by the record.
    pub deployed: Option<StoredTarget>,
    /// The name of the operator who made it.
    pub made_by: String,
    /// What its customer says of it.
    pub description: String,
    /// The label that its customer gave it.
    pub customized_label: String,
}

/// The columns of [`order`], in its order.
pub(super) const COLUMNS: &str = "o.id, o.units, o.port_specification, o.storage, o.region, o.duration_hours, o.amount, o.email, \
     o.address, o.recipient, o.provider, o.service, o.service_id, o.service_category_id, o.public_key, o.created_at, \
     o.updated_at, o.activated_at, o.ends_at, o.aborted_at, o.deleted_at, o.last_revision, o.target, o.target_sequence, o.deployed, o.made_by, \
     o.description, o.customized_label, \
     coalesce(o.ends_at <= now(), false) as is_over";

/// Reads an order out of a row that has [`COLUMNS`].
pub(super) fn order(row: &Row) -> Result<Order, StoreError> {
    let region: Option<String> = row.try_get("region")?;
    let last_revision: i32 = row.try_get("last_revision")?;
    let target_sequence: i32 = row.try_get("target_sequence")?;
    let numbered = |number: i32| (number != 0).then_some(number);
    let target = |column: &'static str| -> Result<Option<StoredTarget>, StoreError> {
        Ok(row.try_get::<_, Option<Json<StoredTarget>>>(column)?.map(|Json(target)| target))
    };
    Ok(Order {
        id: parsed("id", row.try_get::<_, String>("id")?.try_into())?,
        purchase: Purchase {
            units: parsed(
                "units",
                u32::try_from(row.try_get::<_, i32>("units")?).map_err(drop).and_then(|n| n.try_into().map_err(drop)),
            )?,
            port_specification: match row.try_get::<_, &str>("port_specification")? {
                "user" => PortSpecification::User,
                _ => PortSpecification::Random,
            },
            storage: if row.try_get("storage")? { Storage::Persistent } else { Storage::None },
            region: region.map(|text| parsed("region", text.try_into())).transpose()?,
            duration_hours: parsed("duration_hours", row.try_get::<_, i32>("duration_hours")?.try_into())?,
            amount: parsed("amount", row.try_get::<_, i64>("amount")?.try_into())?,
            email: row.try_get("email")?,
            address: row.try_get("address")?,
            recipient: row.try_get("recipient")?,
            provider: row.try_get("provider")?,
            service: row.try_get("service")?,
            service_id: row.try_get("service_id")?,
            service_category_id: row.try_get("service_category_id")?,
            public_key: row.try_get("public_key")?,
        },
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        activated_at: row.try_get("activated_at")?,
        ends_at: row.try_get("ends_at")?,
        is_over: row.try_get("is_over")?,
        aborted_at: row.try_get("aborted_at")?,
        deleted_at: row.try_get("deleted_at")?,
        last_revision: numbered(last_revision).map(|number| counter("last_revision", number)).transpose()?,
        target: target("target")?,
        target_sequence: numbered(target_sequence).map(|number| counter("target_sequence", number)).transpose()?,
        deployed: target("deployed")?,
        made_by: row.try_get("made_by")?,
        description: row.try_get("description")?,
        customized_label: row.try_get("customized_label")?,
    })
}

/// What to insert for a new order.
#[derive(Debug)]
pub struct NewOrder<'a> {
    /// Its id.
    pub id: &'a OrderId,
    /// What was bought.
    pub purchase: &'a Purchase,
    /// HMAC of its secret.
    pub secret_digest: &'a Digest,
    /// HMAC of the body it is made from: tells a repeated request from another one.
    pub request_digest: &'a Digest,
    /// The operator's name.
    pub made_by: &'a str,
    /// The operator's key.
    pub idempotency_key: Option<&'a str>,
}

/// What an order's customer has used an idempotency key for.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one for each request")]
pub enum KeyUse {
    /// It made this job.
    Job(Job),
    /// It set one of the order's texts.
    Said,
}

/// What came of making an order.
#[derive(Debug)]
pub enum Created {
    /// It is new.
    New(Order),
    /// The same request had made it before.
    Before(Order),
    /// Another request had made an order of this id.
    Taken,
    /// Another request with the same key came first.
    KeyTaken,
}

/// Where an order stands in its life (`wire.md` §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Paid; nothing has been deployed.
    Pending,
    /// Something has been deployed.
    Running,
    /// The customer has stopped it.
    Stop,
    /// The paid time is over.
    Done,
    /// The operator ended it.
    Abort,
}

impl ServiceStatus {
    /// Every status there is.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Stop, Self::Done, Self::Abort];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "ServicePending",
            Self::Running => "ServiceRunning",
            Self::Stop => "ServiceStop",
            Self::Done => "ServiceDone",
            Self::Abort => "ServiceAbort",
        }
    }

    /// Of an order `o`: the ways to be in this status. No two of them hold at once, and an index has the orders of each.
    fn conditions(self) -> &'static [&'static str] {
        match self {
            Self::Abort => &["o.aborted_at is not null"],
            Self::Pending => &["o.aborted_at is null and o.deleted_at is null and o.ends_at is null"],
            Self::Done => &[
                "o.aborted_at is null and o.deleted_at is not null",
                "o.aborted_at is null and o.deleted_at is null and o.ends_at <= now() \
                 and o.deployed ->> 'run' = 'stopped'",
                "o.aborted_at is null and o.deleted_at is null and o.ends_at <= now() \
                 and o.deployed ->> 'run' is distinct from 'stopped'",
            ],
            Self::Stop => &["o.aborted_at is null and o.deleted_at is null and o.ends_at > now() \
                 and o.deployed ->> 'run' = 'stopped'"],
            Self::Running => &["o.aborted_at is null and o.deleted_at is null and o.ends_at > now() \
                 and o.deployed ->> 'run' is distinct from 'stopped'"],
        }
    }
}

impl Order {
    /// Where the order stands now.
    pub fn service_status(&self) -> ServiceStatus {
        match self.ends_at {
            _ if self.aborted_at.is_some() => ServiceStatus::Abort,
            _ if self.deleted_at.is_some() => ServiceStatus::Done,
            None => ServiceStatus::Pending,
            Some(_) if self.is_over => ServiceStatus::Done,
            Some(_) if self.is_stopped() => ServiceStatus::Stop,
            Some(_) => ServiceStatus::Running,
        }
    }

    /// Whether its pod was stopped, by the record.
    fn is_stopped(&self) -> bool {
        self.deployed.as_ref().is_some_and(|deployed| !deployed.run.is_running())
    }

    /// The domains that are bound to it, or will be; none = there are none.
    pub fn ingress(&self) -> Option<&Ingress> {
        self.target.as_ref()?.exposure.ingress()
    }

    /// The revision that is in its region, by the record.
    pub fn deployed_revision(&self) -> Option<Revision> {
        self.deployed.as_ref().map(|deployed| deployed.revision)
    }
}

impl Store {
    /// Makes an order. Two statements when one of this id is there already.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn create_order(&self, new: &NewOrder<'_>) -> Result<Created, StoreError> {
        let sql = format!(
            "with made as ( \
                 insert into orders (id, secret_digest, request_digest, made_by, units, port_specification, storage, \
                     region, duration_hours, amount, email, address, recipient, provider, service, service_id, \
                     service_category_id, public_key, secret_key) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $20) \
                 on conflict (id) do nothing returning * \
             ), told as ( \
                 insert into history (order_id, actor, event, idempotency_key, request_digest) \
                 select id, made_by, 'created', $19, case when $19::text is not null then request_digest end from made \
             ) \
             select {COLUMNS} from made o"
        );
        let purchase = new.purchase;
        let units = parsed("units", i32::try_from(purchase.units.get()))?;
        let hours = parsed("duration_hours", i32::try_from(purchase.duration_hours))?;
        let amount = parsed("amount", i64::try_from(purchase.amount))?;
        let values: [&(dyn ToSql + Sync); 20] = [
            &new.id.as_str(),
            &new.secret_digest.current.as_slice(),
            &new.request_digest.current.as_slice(),
            &new.made_by,
            &units,
            &purchase.port_specification.as_str(),
            &(purchase.storage == Storage::Persistent),
            &purchase.region.as_ref().map(RegionCode::as_str),
            &hours,
            &amount,
            &purchase.email,
            &purchase.address,
            &purchase.recipient,
            &purchase.provider,
            &purchase.service,
            &purchase.service_id,
            &purchase.service_category_id,
            &purchase.public_key,
            &new.idempotency_key,
            &new.secret_digest.key.to_string(),
        ];
        match self.row(&sql, &values).await {
            Ok(Some(row)) => return Ok(Created::New(order(&row)?)),
            Ok(None) => {}
            Err(error) if key_taken(&error) => return Ok(Created::KeyTaken),
            Err(error) => return Err(error),
        }
        let sql = format!("select {COLUMNS}, o.request_digest from orders o where o.id = $1");
        let row = self.row(&sql, &[&new.id.as_str()]).await?.ok_or(StoreError::Row { column: "id" })?;
        let same = new.request_digest.is(row.try_get("request_digest")?);
        Ok(if same { Created::Before(order(&row)?) } else { Created::Taken })
    }

    /// The order that a secret opens, be it its present one or one whose overlap is not over, and with it what its customer has
    /// used an idempotency key for. A secret that was kept under an older key is kept under the one of now from then on: one
    /// statement more, once.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn order_by_secret(
        &self,
        secret_digest: &Digest,
        idempotency_key: Option<&str>,
    ) -> Result<Option<(Order, Option<KeyUse>)>, StoreError> {
        let sql = format!(
            "select {COLUMNS}, {}, \
                 exists (select from history h where h.order_id = o.id and h.idempotency_key = $2 and h.event <> 'created' \
                     and h.actor = 'customer') as is_said, \
                 o.secret_digest = any($3) as is_under_older_key \
             from orders o \
             left join jobs j on j.order_id = o.id and j.idempotency_key = $2 \
             where o.secret_digest = any($1) or (o.old_secret_digest = any($1) and o.old_secret_until > now())",
            jobs::COLUMNS
        );
        let (all, older) = secret_digest.lists();
        let Some(row) = self.row(&sql, &[&all, &idempotency_key, &older]).await? else { return Ok(None) };
        if row.try_get("is_under_older_key")? {
            self.keep_under_key_of_now(secret_digest, &older).await?;
        }
        let said = || row.try_get("is_said").map(|is_said: bool| is_said.then_some(KeyUse::Said));
        let used = match jobs::job_if_any(&row)? {
            Some(job) => Some(KeyUse::Job(job)),
            None => said()?,
        };
        Ok(Some((order(&row)?, used)))
    }

    /// Keeps a secret under the key of now.
    async fn keep_under_key_of_now(&self, secret_digest: &Digest, older: &[&[u8]]) -> Result<(), StoreError> {
        let sql = "update orders set secret_digest = $1, secret_key = $2 where secret_digest = any($3)";
        let (current, key) = (secret_digest.current.as_slice(), secret_digest.key.to_string());
        self.execute(sql, &[&current, &key, &older]).await.map(drop)
    }

    /// An order by its id.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        let sql = format!("select {COLUMNS} from orders o where o.id = $1");
        self.row(&sql, &[&id.as_str()]).await?.map(|row| order(&row)).transpose()
    }

    /// Ends an order that never ran anywhere. No = it has ended, or has a region by now.
    ///
    /// # Errors
    /// When PostgreSQL does not do it.
    pub async fn abort_unplaced(&self, id: &OrderId, word: &Word<'_>) -> Result<Changed, StoreError> {
        let only = "o.aborted_at is null and o.last_sequence = 0";
        self.change(Event::Aborted, "aborted_at = now()", only, id, word, &[]).await
    }
}
