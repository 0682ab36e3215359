// Keys for each class of data, and a registry for images.

import * as pulumi from "@pulumi/pulumi";
import * as penstock from "./penstock";

const keys = new penstock.DataKeys("keys", {
    partition: "aws",
    region: "eu-central-1",
    accountId: new pulumi.Config().require("accountId"),
    protected: false,
});
const registry = new penstock.Registry("registry", {
    images: ["gateway", "worker"],
    prefix: "acme",
    keyArn: keys.images,
    protected: false,
});
export const urls = registry.urls;
