#!/bin/sh
# Topics and ACLs, over the wire as the super user. Run again, it changes nothing.
set -eu
PATH="$PATH:/opt/kafka/bin"

topic() {
    kafka-topics.sh --bootstrap-server kafka:9092 --command-config /etc/plumbline/admin.properties --create --if-not-exists \
        --replication-factor 1 --topic "$1" --partitions "$2" \
        --config retention.ms=-1 --config cleanup.policy=delete --config unclean.leader.election.enable=false --config max.message.bytes=1048588
}

allow() {
    user=$1
    shift
    kafka-acls.sh --bootstrap-server kafka:9092 --command-config /etc/plumbline/admin.properties --add --force \
        --allow-principal "User:$user" "$@"
}

topic plumbline.customers.v1 12
topic plumbline.catalogue.v1 12
topic plumbline.orders.v1 12

allow app-service --operation Write --operation Describe --operation DescribeConfigs \
    --topic plumbline.customers.v1 --topic plumbline.catalogue.v1 --topic plumbline.orders.v1

allow analytics-consumer --operation Read --operation Describe \
    --topic plumbline.customers.v1 --topic plumbline.catalogue.v1 --topic plumbline.orders.v1
allow analytics-consumer --operation Read --group analytics-consumer

allow email-consumer --operation Read --operation Describe \
    --topic plumbline.customers.v1 --topic plumbline.orders.v1
allow email-consumer --operation Read --group email-consumer

allow audit-consumer --operation Read --operation Describe \
    --topic plumbline.customers.v1 --topic plumbline.catalogue.v1 --topic plumbline.orders.v1
allow audit-consumer --operation Read --group audit-consumer
