DROP TABLE email_delivery;
DROP TABLE customer;
