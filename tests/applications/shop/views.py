"""The shop's pages."""

import decimal
import uuid

import cassandra
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import SyntaxException
from cassandra.query import SimpleStatement
from flask import Flask, jsonify, request


def make_app(store):
    app = Flask("shop")

    @app.post("/customers/<uuid:customer>/orders")
    def order(customer):
        lines = [(line["article"], decimal.Decimal(line["price"])) for line in request.get_json()]
        return jsonify(lines=store.order(customer, lines)), 201

    @app.get("/customers/<uuid:customer>/orders")
    def orders(customer):
        rows = store.session.execute(store.get_orders, [customer])
        return jsonify([{"n": row.n, "article": row.article, "price": str(row.price)} for row in rows])

    @app.get("/customers/<uuid:customer>")
    def customer(customer):
        row = store.session.execute_async(store.get_customer, {"id": customer}).result().one()
        if row is None:
            return jsonify(error="no such customer"), 404
        return jsonify(name=row.name, street=row.home.street, code=row.code)

    @app.get("/query")
    def query():
        statement = SimpleStatement(request.args["cql"], consistency_level=int(request.args.get("level", 1)))
        return jsonify([list(map(str, row)) for row in store.session.execute(statement)])

    @app.errorhandler(SyntaxException)
    def wrong(error):
        return jsonify(error="syntax"), 400

    @app.errorhandler(cassandra.InvalidRequest)
    def invalid(error):
        return jsonify(error="invalid"), 422

    @app.errorhandler(cassandra.Unavailable)
    def unavailable(error):
        return jsonify(required=error.required_replicas, alive=error.alive_replicas, level=error.consistency), 503

    @app.errorhandler(NoHostAvailable)
    def nobody(error):
        return jsonify(error="nobody", hosts=len(error.errors)), 503

    return app


CUSTOMER = uuid.UUID("00000000-0000-4000-8000-000000000001")
