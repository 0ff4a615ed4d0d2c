-- A sample register. Every name and code is made up.
BEGIN IMMEDIATE;

-- Enterprises to try by hand, one for each thing worth seeing.
INSERT INTO enterprise (customs_code, social_credit_code, name, credit_tier, tier_effective_from, tier_valid_until, suspended) VALUES
  ('1101910001', '91110000600037341L', 'Beijing Lantern Electronics Co., Ltd.', 'ADVANCED_CERTIFIED', '2022-05-01', NULL, 0),
  ('3122480002', '91310110666007217T', 'Shanghai Tidewater Customs Brokers', 'ADVANCED_CERTIFIED', '2021-11-01', NULL, 0),
  ('4403960003', NULL, 'Shenzhen Kite Components', 'CERTIFIED', '2026-04-01', NULL, 0),
  ('3302960004', NULL, 'Ningbo Plum Trading', 'REGULAR', '2019-03-12', NULL, 0),
  ('3702960005', NULL, 'Qingdao Harbour Foods', 'DISCREDITED', '2025-08-20', NULL, 0),
  ('4601960006', NULL, 'Haikou Coral Imports', 'SERIOUSLY_DISCREDITED', '2026-05-04', NULL, 0),
  ('3502960007', NULL, 'Xiamen Egret Instruments', 'ADVANCED_CERTIFIED', '2020-02-01', NULL, 1),
  ('1201960008', NULL, 'Tianjin Crane Machinery', 'ADVANCED_CERTIFIED', '2020-02-01', '2025-02-01', 0),
  ('2101960009', NULL, 'Shenyang Birch Motors', 'CERTIFIED', '2026-04-01', NULL, 0),
  ('4401960010', NULL, 'Guangzhou Banyan Logistics', 'REGULAR', '2018-07-01', NULL, 0),
  ('5101960011', NULL, 'Chengdu Teahouse Exports', 'CERTIFIED', '2026-04-01', NULL, 0),
  ('3202980012', NULL, 'Suzhou Reed Customs Declarations', 'REGULAR', '2017-01-09', NULL, 0);

-- An upgrade decided in advance.
INSERT INTO scheduled_tier (customs_code, credit_tier, effective_from) VALUES ('2101960009', 'ADVANCED_CERTIFIED', '2027-01-01');

INSERT INTO recognised_operator (aeo_code, country, programme, name, valid_from, valid_until, suspended) VALUES
  ('SG201234567890', 'SG', 'STP-Plus', 'Merlion Freight Pte Ltd', '2019-01-01', NULL, 0),
  ('DEAEOF10000001', 'DE', 'AEOF', 'Hansekontor GmbH', '2017-06-01', NULL, 0);

INSERT INTO control_order (id, kind, basis, enterprise_id, hs_prefix, origin_country, customs_office, container_number, direction, valid_from, valid_to, legal_basis, public_reason, confidential_reason) VALUES
  ('ORDER-0001', 'INSPECT', 'MANDATED', NULL, '0207', NULL, NULL, NULL, 'IMPORT', '2026-01-01T00:00:00Z', NULL,
   'Animal and Plant Quarantine Law Art 14', 'Poultry meat is inspected on import', NULL),
  ('ORDER-0002', 'HOLD', 'TARGETED', NULL, NULL, NULL, NULL, 'CSQU3054383', NULL, '2026-01-01T00:00:00Z', NULL,
   'Customs Law Art 6', 'Held for an officer', 'Seal number reported as tampered with'),
  ('ORDER-0003', 'DOCUMENTS', 'EMERGENCY', NULL, '2204', 'XX', NULL, NULL, NULL, '2026-01-01T00:00:00Z', NULL,
   'Emergency announcement', 'Certificates of origin are checked', NULL);

-- The rest of the register: about 1 % advanced certified, 1 % certified, 1 % discredited.
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO enterprise (customs_code, name, credit_tier, tier_effective_from)
SELECT printf('44039%05d', i), printf('Sample Trading No. %d', i),
       CASE WHEN i % 100 = 0 THEN 'ADVANCED_CERTIFIED' WHEN i % 100 = 1 THEN 'CERTIFIED'
            WHEN i % 100 = 2 THEN 'DISCREDITED' ELSE 'REGULAR' END,
       date('2016-01-01', '+' || (i % 3000) || ' days')
  FROM n;

COMMIT;
