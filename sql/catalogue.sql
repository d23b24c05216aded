-- A magazine's articles, its readers and what they read: what recommend() is tested and shown with.
CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, tags text[], city text, published timestamptz);
CREATE TABLE people (id bigint PRIMARY KEY, age int, city text);
CREATE TABLE reads (user_id bigint, article_id bigint, seconds real, at timestamptz);
CREATE INDEX ON reads (user_id);
CREATE INDEX ON reads (article_id);

INSERT INTO articles (id, tags, city, published, title, body) VALUES
(1, '{technology,startups}', 'New York', '2026-03-02', 'The robot that restocks Brooklyn bodegas at night',
 'A small company in Red Hook builds carts that find empty shelves by camera and fill them before the shops open.'),
(2, '{technology,privacy}', 'Berlin', '2026-03-04', 'Phones that forget: a week without a cloud',
 'We kept every photo and message on our own devices for seven days. Syncing by cable was slow, and strangely calming.'),
(3, '{technology,music}', 'Tokyo', '2026-03-05', 'Inside the factory that still makes turntables by hand',
 'Engineers in Yokohama explain why a motor from 1978 is hard to improve, and what software changed after all.'),
(4, '{technology,science}', 'San Francisco', '2026-03-07', 'Teaching a computer to read handwriting from 1780',
 'Archivists and programmers trained a small network on merchants'' letters. It reads them better than most historians.'),
(5, '{technology,energy}', 'London', '2026-03-09', 'Batteries the size of a bus keep a hospital running',
 'When the grid failed in January, nobody at St Thomas'' noticed. The engineers who planned for it tell how.'),
(6, '{technology,startups,business}', 'New York', '2026-03-12', 'What happened to the forty app companies of 2016',
 'Ten years on we called every founder on a list of promising start-ups. Six still write code for a living.'),
(7, '{technology,travel}', 'Tokyo', '2026-03-15', 'The train that apologises when it is one minute late',
 'Signals, software and manners: how the timetable of the Shinkansen is kept, second by second.'),
(8, '{travel,nature}', 'New York', '2026-03-03', 'A weekend on the Hudson without a car',
 'Take the train to Cold Spring, walk over Breakneck Ridge and be back for dinner. A route with times and tides.'),
(9, '{travel,food}', 'Paris', '2026-03-06', 'Five bakeries, one morning, no regrets',
 'A walk through the eleventh arrondissement that begins at six with warm bread and ends at noon with a nap.'),
(10, '{travel,history}', 'London', '2026-03-08', 'Ten stations of the Tube that no train stops at',
 'Behind plain doors in ordinary streets are platforms from another century. Some of them can be visited.'),
(11, '{travel,nature}', 'Tokyo', '2026-03-11', 'Sleeping in a temple above the clouds',
 'Mount Koya takes guests. The monks rise at five, the bath is hot, and the telephone has no signal.'),
(12, '{travel,budget}', 'Berlin', '2026-03-13', 'Across Europe by night train for ninety euros',
 'Six cities, four sleepers, one thermos flask. What to book, where to change and which berth is quiet.'),
(13, '{travel,food}', 'New York', '2026-03-16', 'Queens in twelve dumplings',
 'From Flushing to Astoria by the 7 train: a tour of kitchens for one hungry afternoon, with addresses.'),
(14, '{travel,city life}', 'San Francisco', '2026-03-18', 'The stairs of San Francisco, all 671 of them',
 'There are hidden gardens, slides and one parrot. We walked every public stairway so that you can choose ten.'),
(15, '{music,jazz}', 'New York', '2026-03-02', 'Where to hear jazz in Harlem on a Tuesday',
 'The big names play at weekends. On Tuesdays the musicians come for each other, and the door costs ten dollars.'),
(16, '{music,classical}', 'Berlin', '2026-03-05', 'The orchestra that rehearses in a power station',
 'Eighty players, no conductor and a turbine hall with an echo of nine seconds. An evening of Bruckner in Moabit.'),
(17, '{music,technology}', 'London', '2026-03-08', 'A synthesizer made of rain',
 'An artist in Peckham turned her roof into an instrument: sensors, gutters and a patient neighbour.'),
(18, '{music,history}', 'Paris', '2026-03-10', 'The record shop that saved a label',
 'When the distributor went under, a shop near Bastille bought ten thousand records and sold each by hand.'),
(19, '{music,festival}', 'New York', '2026-03-14', 'Summer concerts in the park, free and worth the queue',
 'Which shows need a ticket, where the shade is and when to come: our guide to open-air music in the five boroughs.'),
(20, '{music,travel}', 'Tokyo', '2026-03-17', 'A night in the smallest jazz bars of Shinjuku',
 'Eight seats, four thousand records and a host who decides what you hear. How to find them and how to behave.'),
(21, '{music,classical}', 'London', '2026-03-19', 'How a choir of beginners learned to sing Bach',
 'They met in a school hall, none could read notes, and after a year they filled a church.'),
(22, '{food,recipes}', 'Paris', '2026-03-03', 'An omelette in four minutes, as the grandmothers make it',
 'Three eggs, butter, a hot pan and courage. We asked five cooks and they agreed on only one thing.'),
(23, '{food,city life}', 'New York', '2026-03-07', 'The last pickle barrel of the Lower East Side',
 'Cucumbers, salt, garlic, time. The owner is eighty-one and looking for somebody who likes to get up early.'),
(24, '{food,science}', 'San Francisco', '2026-03-10', 'Why sourdough tastes of where it is baked',
 'Biologists collected starters from forty kitchens. The yeast travels with the baker, the bacteria stay at home.'),
(25, '{food,travel}', 'Tokyo', '2026-03-12', 'Standing at the counter: a guide to noodle shops',
 'Buy the ticket first, do not linger, and slurp. Nine places to eat soba between two trains.'),
(26, '{food,recipes}', 'London', '2026-03-15', 'A pie for people who fear pastry',
 'The dough is cold, the oven is hot, and the filling forgives. A recipe with pictures of every mistake.'),
(27, '{food,business}', 'Berlin', '2026-03-18', 'The canteen that made a whole office vegetarian',
 'Nobody was asked. The lentils were simply better, and after a year the cook showed the figures.'),
(28, '{science,space}', 'San Francisco', '2026-03-04', 'A telescope on a cargo plane looks at young stars',
 'Above the clouds and with its door open the old jumbo collects infrared light that never reaches the ground.'),
(29, '{science,nature}', 'London', '2026-03-06', 'The bees of the Royal Parks are counted again',
 'Volunteers with notebooks found forty-one kinds, two of them new to the city. What they ask gardeners to plant.'),
(30, '{science,health}', 'Berlin', '2026-03-09', 'What sleep does for a memory, hour by hour',
 'In a laboratory at the Charité people learn lists of words and are woken at the wrong moments.'),
(31, '{science,space}', 'New York', '2026-03-13', 'Meteorites on the roofs of Manhattan',
 'With a magnet and a broom a retired teacher collects dust from space. A museum has confirmed three grains.'),
(32, '{science,energy}', 'Paris', '2026-03-16', 'Heat from the sewers warms a swimming pool',
 'Water that the city throws away is still at fifteen degrees. Engineers put a heat pump where others hold their nose.'),
(33, '{science,nature}', 'Tokyo', '2026-03-20', 'The cherry trees keep a diary of the climate',
 'Courtiers wrote down the day of the first blossom for twelve hundred years. Now their list is data.'),
(34, '{sport,running}', 'New York', '2026-03-05', 'The marathon of those who come last',
 'They finish after dark when the barriers are gone. Volunteers wait for them with soup, and every one gets a medal.'),
(35, '{sport,football}', 'London', '2026-03-08', 'A club that belongs to its supporters',
 'Wages are published, beer is cheap and the striker is a plumber. Can the ninth division be a model?'),
(36, '{sport,cycling}', 'Paris', '2026-03-11', 'Cycling up the Ventoux with a loaf of bread',
 'The professionals need an hour. Our author took five, and gives an honest account of the last six kilometres.'),
(37, '{sport,climbing}', 'San Francisco', '2026-03-14', 'Learning to climb at fifty',
 'The wall does not care how old you are. A beginner''s notebook about fear, chalk and strong fingers.'),
(38, '{sport,running}', 'Berlin', '2026-03-17', 'Running clubs that never ask for your time',
 'No watches, no plans, coffee afterwards. On Thursday evenings four hundred people run slowly along the canal.'),
(39, '{sport,health}', 'Tokyo', '2026-03-19', 'Radio gymnastics at half past six',
 'Every morning millions stretch to the same piano tune. Doctors think they know why it works.'),
(40, '{business,economy}', 'London', '2026-03-04', 'Who pays for the empty offices of the City',
 'Rents fall, pension funds worry, and architects draw bathrooms into trading floors.'),
(41, '{business,startups}', 'Berlin', '2026-03-07', 'A bank account for street musicians',
 'Coins are fading away. A cooperative lends card readers to buskers and takes no fee under five hundred euros.'),
(42, '{business,economy}', 'New York', '2026-03-10', 'The price of a slice, and what it says about wages',
 'Since 1964 pizza and the subway fare have cost about the same. Economists argue whether that is a law.'),
(43, '{business,fashion}', 'Paris', '2026-03-13', 'The tailor who mends what others throw away',
 'Sixty euros for a new lining and a story with every coat. Her waiting list is now four months long.'),
(44, '{city life,architecture}', 'New York', '2026-03-06', 'The lift operators of the Upper West Side',
 'Three buildings still have one. They know every dog by name and every secret by floor.'),
(45, '{city life,books}', 'Paris', '2026-03-09', 'A library in a laundrette',
 'The machines need forty minutes and so does a good short story. Readers leave books in drum number seven.'),
(46, '{city life,books}', 'London', '2026-03-12', 'The bookseller who writes a letter with every parcel',
 'Three thousand letters in four years, all by hand, none of them about the weather.'),
(47, '{city life,architecture}', 'Berlin', '2026-03-15', 'Gardens where the Wall stood',
 'Tomatoes grow on the strip of no man''s land, between a car park and a church. The lease ends in May.'),
(48, '{city life,nature}', 'San Francisco', '2026-03-20', 'Counting parrots from a kitchen window',
 'They escaped decades ago and made a town of their own on Telegraph Hill. A neighbour keeps the census.');

-- Six hundred readers. Each likes two subjects, a little more the articles about their own city.
INSERT INTO people SELECT i, 18 + i * 7 % 50, ('{New York,London,Tokyo,Berlin,Paris,San Francisco}'::text[])[1 + i % 6]
FROM generate_series(1, 600) AS i;

INSERT INTO reads
SELECT p.id, a.id, 20 + (p.id * 37 + a.id * 53) % 240, a.published + (p.id % 5 + 1) * interval '7 hours'
FROM people AS p, articles AS a, LATERAL (SELECT '{technology,travel,music,food,science,sport,business,city life}'::text[]
    AS subjects) AS s
WHERE (p.id * 13 + a.id * 29) % 100 < 6
    + CASE WHEN a.tags && ARRAY[s.subjects[1 + p.id % 8], s.subjects[1 + (p.id / 8 + p.id) % 8]] THEN 54 ELSE 0 END
    + CASE WHEN a.city = p.city THEN 14 ELSE 0 END;

SELECT (SELECT count(*) FROM articles) AS articles, (SELECT count(*) FROM people) AS people, count(*) > 6000 AS many,
    count(DISTINCT user_id) AS readers, count(DISTINCT article_id) AS read
FROM reads;
