-- SPDX-License-Identifier: GPL-3.0-or-later

-- A small shop: customers, products and two years of orders.

CREATE TYPE order_state AS ENUM ('placed', 'paid', 'sent');

CREATE TABLE customer (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE
);

CREATE TABLE product (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    price numeric(10, 2) NOT NULL CHECK (price > 0)
);

CREATE TABLE purchase (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customer,
    product_id integer NOT NULL REFERENCES product,
    quantity integer NOT NULL DEFAULT 1,
    state order_state NOT NULL DEFAULT 'placed',
    placed_at timestamptz NOT NULL
);
CREATE INDEX ON purchase (customer_id);

INSERT INTO customer (name, email)
SELECT 'Customer ' || n, 'customer' || n || '@example.org' FROM generate_series(1, 500) AS n;

INSERT INTO product (title, price)
SELECT 'Product ' || n, (n * 37 % 900 + 99) / 100.0 FROM generate_series(1, 80) AS n;

INSERT INTO purchase (customer_id, product_id, quantity, state, placed_at)
SELECT n * 7 % 500 + 1, n * 11 % 80 + 1, n % 4 + 1, (ARRAY['placed', 'paid', 'sent'])[n % 3 + 1]::order_state,
    timestamptz '2025-01-01 00:00:00+00' + n * interval '52 minutes'
FROM generate_series(1, 20000) AS n;
