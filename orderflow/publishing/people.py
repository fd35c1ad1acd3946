"""Generates customers of two languages, with fictitious names, phone numbers and addresses from Faker."""

from collections.abc import Callable
from random import Random

import attrs
from faker import Faker

MAX_CUSTOMERS = 1000
"""How many customers of one language are generated before known customers order again: Faker is slow."""


@attrs.frozen
class Market:
    """Currency, payment and delivery of customers of one language. `rubles` is the price of one unit of currency."""

    locale: str
    currency: str
    rubles: int
    providers: tuple[str, ...]
    banks: tuple[str, ...]
    carriers: tuple[str, ...]
    new_recipient: Callable[[Faker], dict[str, str]]


def _russian_recipient(faker: Faker) -> dict[str, str]:
    return {
        "name": faker.name(),
        "phone": "+79" + faker.numerify("#########"),
        "zip": faker.postcode(),
        "city": faker.city_name(),
        "address": faker.street_address(),
        "region": faker.region(),
        "email": faker.email(),
    }


def _american_recipient(faker: Faker) -> dict[str, str]:
    return {
        "name": f"{faker.first_name()} {faker.last_name()}",
        "phone": "+1" + faker.numerify("%##555####"),
        "zip": faker.postcode(),
        "city": faker.city(),
        "address": faker.street_address(),
        "region": faker.state(),
        "email": faker.email(),
    }


MARKETS = {
    "ru_RU": Market(
        locale="ru",
        currency="RUB",
        rubles=1,
        providers=("wbpay", "sbp", "yookassa", "cloudpayments"),
        banks=("sber", "tbank", "alfa", "vtb", "gazprombank"),
        carriers=("cdek", "pochta", "boxberry", "meest"),
        new_recipient=_russian_recipient,
    ),
    "en_US": Market(
        locale="en",
        currency="USD",
        rubles=90,
        providers=("stripe", "paypal", "adyen", "square"),
        banks=("chase", "wells fargo", "citi", "capital one"),
        carriers=("ups", "fedex", "usps", "dhl"),
        new_recipient=_american_recipient,
    ),
}
"""The markets by the name of their Faker locale."""


@attrs.frozen
class Customer:
    """A customer. `recipient` is the `delivery` part of all orders of this customer."""

    customer_id: str
    recipient: dict[str, str]


class Customers:
    """The customers of one market. After `MAX_CUSTOMERS` were generated, known customers order again."""

    def __init__(self, faker_locale: str, random: Random) -> None:
        self.market = MARKETS[faker_locale]
        self._random = random
        self._faker = Faker(faker_locale)
        self._faker.seed_instance(random.getrandbits(64))
        self._known: list[Customer] = []

    def next(self) -> Customer:
        """Return a new customer, or a known one when there are `MAX_CUSTOMERS`."""
        if len(self._known) == MAX_CUSTOMERS:
            return self._random.choice(self._known)
        customer = Customer(f"customer-{self._random.getrandbits(40):010x}", self.market.new_recipient(self._faker))
        self._known.append(customer)
        return customer
