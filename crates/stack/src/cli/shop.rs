//! The plan of the seeded shop. It is the same one every time: names, prices and orders come from a generator
//! with a fixed seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

const PRODUCTS: usize = 200;
const CUSTOMERS: usize = 50;
const ORDERS: usize = 500;

const SEED: u64 = 20_260_101;

/// What the seeded shop consists of.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) products: Vec<ProductPlan>,
    pub(crate) customers: Vec<CustomerPlan>,
    pub(crate) orders: Vec<OrderPlan>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct ProductPlan {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price_minor: i64,
    pub(crate) quantity: u32,
    /// Not for sale yet, so nobody orders it.
    pub(crate) draft: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct CustomerPlan {
    pub(crate) sub: String,
    pub(crate) name: String,
    pub(crate) email: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct OrderPlan {
    /// Index into the customers.
    pub(crate) customer: usize,
    /// Indices into the products, each once, with a quantity.
    pub(crate) lines: Vec<(usize, u32)>,
    pub(crate) fate: Fate,
}

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Placed,
    Paid,
    Cancelled,
    PaidAndCancelled,
}

pub(crate) fn plan() -> Plan {
    let mut random = StdRng::seed_from_u64(SEED);
    let products: Vec<ProductPlan> = (0..PRODUCTS).map(|number| product(number, &mut random)).collect();
    let customers = (0..CUSTOMERS).map(customer).collect();
    let for_sale: Vec<usize> = (0..PRODUCTS).filter(|index| !products[*index].draft).collect();
    let orders = (0..ORDERS).map(|_| order(&for_sale, &mut random)).collect();
    Plan {
        products,
        customers,
        orders,
    }
}

const MATERIALS: [&str; 20] = [
    "Oak",
    "Walnut",
    "Linen",
    "Wool",
    "Cotton",
    "Ceramic",
    "Stoneware",
    "Porcelain",
    "Copper",
    "Brass",
    "Steel",
    "Glass",
    "Cork",
    "Leather",
    "Bamboo",
    "Marble",
    "Rattan",
    "Beech",
    "Enamel",
    "Felt",
];

const THINGS: [(&str, &str, i64); 20] = [
    ("Desk Lamp", "A dimmable light for late work", 6_900),
    ("Side Table", "Just high enough for a cup and a book", 12_900),
    ("Cushion", "Washable cover, filled with feathers", 2_900),
    ("Throw", "For the sofa and for the first cold evening", 7_900),
    ("Teapot", "Holds four cups and does not drip", 4_500),
    ("Mug", "For coffee, or for pencils", 1_400),
    ("Serving Bowl", "Wide enough for a salad for six", 3_800),
    ("Tray", "Carries breakfast for two", 3_200),
    ("Candle Holder", "Stands steady on any shelf", 1_900),
    ("Bookend", "Sold in pairs", 2_600),
    ("Wall Clock", "A silent movement and a clear face", 5_400),
    ("Vase", "For one branch or many", 3_600),
    ("Storage Box", "Stackable, with a lid", 2_200),
    ("Coat Hook", "Holds the heaviest coat", 1_600),
    ("Picture Frame", "With a mount for A4", 2_100),
    ("Stool", "Three legs, so that it never wobbles", 8_900),
    ("Bread Board", "Gets better with every year", 2_700),
    ("Pepper Mill", "A grinder that can be adjusted", 3_400),
    ("Napkin Set", "Four of them, hemmed", 2_400),
    ("Plant Pot", "With a saucer", 1_800),
];

/// Each of the first 400 has a name of its own.
fn product(number: usize, random: &mut StdRng) -> ProductPlan {
    let material = MATERIALS[(number + number / THINGS.len()) % MATERIALS.len()];
    let (thing, description, price) = THINGS[number % THINGS.len()];
    let percent = random.random_range(70..=160);
    let price_minor = price * percent / 100 / 50 * 50;
    ProductPlan {
        sku: format!("PL-{:04}", number + 1),
        name: format!("{material} {thing}"),
        description: format!("{description}. {material}, made in small batches."),
        price_minor,
        quantity: random.random_range(40..=400),
        draft: number % 25 == 24,
    }
}

const FIRST: [&str; 25] = [
    "Ada", "Amir", "Anneke", "Beatriz", "Chidi", "Clara", "Daan", "Elif", "Emeka", "Freya", "Goran", "Hana",
    "Ines", "Jonas", "Kaito", "Leila", "Mateo", "Nadia", "Oskar", "Priya", "Quinn", "Rosa", "Samuel",
    "Tomasz", "Yara",
];

const LAST: [&str; 50] = [
    "Andersson",
    "Bauer",
    "Castillo",
    "Dupont",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanov",
    "Jansen",
    "Kaya",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Rossi",
    "Silva",
    "Takahashi",
    "Ueda",
    "Varga",
    "Wagner",
    "Yilmaz",
    "Zieliński",
    "Almeida",
    "Brandt",
    "Costa",
    "Demir",
    "Evans",
    "Ferrari",
    "Gruber",
    "Hoffmann",
    "Ito",
    "Johansson",
    "Keller",
    "Lopez",
    "Müller",
    "Novak",
    "Olsen",
    "Popescu",
    "Ramirez",
    "Schneider",
    "Tanaka",
    "Urbina",
    "Visser",
    "Weber",
    "Young",
    "Zhang",
    "Abebe",
    "Bianchi",
];

fn customer(number: usize) -> CustomerPlan {
    let (first, last) = (FIRST[number % FIRST.len()], LAST[number % LAST.len()]);
    // Addresses are ASCII.
    let plain = |name: &str| name.to_lowercase().replace('ü', "ue").replace('ń', "n");
    CustomerPlan {
        sub: format!("seed-customer-{:02}", number + 1),
        name: format!("{first} {last}"),
        email: format!("{}.{}@example.com", plain(first), plain(last)),
    }
}

fn order(for_sale: &[usize], random: &mut StdRng) -> OrderPlan {
    let lines = random.random_range(1..=4);
    let chosen = for_sale.sample(random, lines).copied().collect::<Vec<_>>();
    let fate = match random.random_range(0..10) {
        0..=1 => Fate::Placed,
        2..=7 => Fate::Paid,
        8 => Fate::Cancelled,
        _ => Fate::PaidAndCancelled,
    };
    OrderPlan {
        customer: random.random_range(0..CUSTOMERS),
        lines: chosen
            .into_iter()
            .map(|product| (product, random.random_range(1..=3)))
            .collect(),
        fate,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_plan_is_the_same_every_time_and_can_be_fulfilled() {
        let plan = plan();
        assert_eq!(plan, super::plan());
        assert_eq!(
            (plan.products.len(), plan.customers.len(), plan.orders.len()),
            (200, 50, 500)
        );
        for (index, product) in plan.products.iter().enumerate() {
            let lines = plan
                .orders
                .iter()
                .flat_map(|order| &order.lines)
                .filter(|(wanted, _)| *wanted == index);
            let wanted: u32 = lines.map(|(_, quantity)| quantity).sum();
            assert!(
                wanted <= product.quantity,
                "{}: {wanted} of {} are ordered",
                product.sku,
                product.quantity
            );
            assert!(
                wanted == 0 || !product.draft,
                "{} is a draft and is ordered",
                product.sku
            );
            assert!(product.price_minor > 0);
        }
        for order in &plan.orders {
            let products: BTreeSet<usize> = order.lines.iter().map(|(product, _)| *product).collect();
            assert!((1..=20).contains(&order.lines.len()) && products.len() == order.lines.len());
        }
    }

    #[test]
    fn nobody_shares_a_name_and_every_state_occurs() {
        let plan = plan();
        let unique = |values: Vec<&str>| values.iter().collect::<BTreeSet<_>>().len() == values.len();
        assert!(unique(
            plan.products
                .iter()
                .map(|product| product.name.as_str())
                .collect()
        ));
        assert!(unique(
            plan.customers
                .iter()
                .map(|customer| customer.email.as_str())
                .collect()
        ));
        assert!(plan.customers.iter().all(|customer| customer.email.is_ascii()));
        for fate in [Fate::Placed, Fate::Paid, Fate::Cancelled, Fate::PaidAndCancelled] {
            assert!(
                plan.orders.iter().filter(|order| order.fate == fate).count() >= 20,
                "{fate:?}"
            );
        }
    }
}
