"""The products of generated orders, with brands, sizes and prices in rubles."""

import attrs

_ONE_SIZE = ("0",)
_CLOTHES = ("XS", "S", "M", "L", "XL", "XXL")
_SHOES = tuple(str(size) for size in range(35, 47))


@attrs.frozen
class Product:
    """A product: its names by the order's locale, its brands and sizes, and its lowest and highest price in rubles."""

    names: dict[str, str]
    brands: tuple[str, ...]
    sizes: tuple[str, ...]
    prices: tuple[int, int]


def _product(russian: str, english: str, brands: str, sizes: tuple[str, ...], prices: tuple[int, int]) -> Product:
    return Product({"ru": russian, "en": english}, tuple(brands.split(", ")), sizes, prices)


PRODUCTS = (
    _product("Тушь для ресниц", "Mascara", "Vivienne Sabó, Maybelline, L'Oréal Paris", _ONE_SIZE, (290, 1_900)),
    _product("Губная помада матовая", "Matte lipstick", "Vivienne Sabó, NYX, Golden Rose", _ONE_SIZE, (250, 2_400)),
    _product("Крем для рук", "Hand cream", "Nivea, Natura Siberica, Neutrogena", _ONE_SIZE, (120, 900)),
    _product("Шампунь", "Shampoo", "Head & Shoulders, Natura Siberica, Elseve", _ONE_SIZE, (190, 1_200)),
    _product("Футболка хлопковая", "Cotton T-shirt", "Befree, Uniqlo, O'STIN", _CLOTHES, (590, 2_900)),
    _product("Джинсы прямые", "Straight jeans", "Levi's, Gloria Jeans, Lee", _CLOTHES, (1_900, 9_900)),
    _product("Худи оверсайз", "Oversized hoodie", "Nike, adidas, Befree", _CLOTHES, (1_700, 8_500)),
    _product("Платье летнее", "Summer dress", "Zarina, Mango, LOVE REPUBLIC", _CLOTHES, (1_500, 7_900)),
    _product("Куртка зимняя", "Winter jacket", "The North Face, Columbia, Baon", _CLOTHES, (5_900, 34_900)),
    _product("Носки, 5 пар", "Socks, 5 pairs", "Uniqlo, Omsa, Puma", _CLOTHES, (290, 1_200)),
    _product("Кроссовки беговые", "Running shoes", "ASICS, Nike, New Balance", _SHOES, (4_900, 18_900)),
    _product("Ботинки кожаные", "Leather boots", "Timberland, ECCO, Ralf Ringer", _SHOES, (5_900, 24_900)),
    _product("Рюкзак городской", "City backpack", "Xiaomi, Herschel, Samsonite", _ONE_SIZE, (1_900, 12_900)),
    _product("Наушники беспроводные", "Wireless headphones", "Sony, JBL, Xiaomi", _ONE_SIZE, (1_490, 29_900)),
    _product("Чехол для телефона", "Phone case", "Spigen, uBear, Deppa", _ONE_SIZE, (290, 2_900)),
    _product("Кабель USB-C, 1 м", "USB-C cable, 1 m", "Anker, Baseus, UGREEN", _ONE_SIZE, (190, 1_900)),
    _product("Умная колонка", "Smart speaker", "Яндекс, Google, Amazon", _ONE_SIZE, (3_990, 16_900)),
    _product("Электрический чайник", "Electric kettle", "Tefal, Bosch, Kitfort", _ONE_SIZE, (1_490, 7_900)),
    _product("Сковорода 26 см", "Frying pan, 26 cm", "Tefal, Rondell, Tramontina", _ONE_SIZE, (1_290, 6_900)),
    _product("Постельное бельё, двуспальное", "Bed linen, double", "Togas, IKEA, Askona", _ONE_SIZE, (1_990, 14_900)),
    _product("Конструктор", "Building set", "LEGO, Brick Labs, Sluban", _ONE_SIZE, (790, 19_900)),
    _product("Настольная игра", "Board game", "Hobby World, Asmodee, Ravensburger", _ONE_SIZE, (890, 5_900)),
    _product("Корм для кошек, 2 кг", "Cat food, 2 kg", "Royal Canin, Purina ONE, Whiskas", _ONE_SIZE, (690, 3_400)),
    _product("Кофе в зёрнах, 1 кг", "Coffee beans, 1 kg", "Lavazza, Jardin, illy", _ONE_SIZE, (990, 4_500)),
)
