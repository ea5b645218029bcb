DROP TABLE order_line;
DROP TABLE orders;
DROP TABLE customer;
DROP TABLE stock;
DROP TABLE product;
