-- Who may do what to the ledger; what is not said here, PostgreSQL refuses.
--
-- Run as the owner of the tables (who may also create roles), after every release that adds one:
--     RFR_LEDGER__URL=postgresql+asyncpg://owner@db/rfr rfr cases    # makes or changes the tables
--     psql -h db -U owner -d rfr -f grants.sql
-- Again is harmless. A table that is not there yet is passed by, and a right that is no longer said is taken away.
-- The roles cannot log in. Each process gets a user of its own:
--     CREATE ROLE rfr_review_1 LOGIN PASSWORD '...' IN ROLE rfr_review;
-- The owner can drop the guards, so no stage and no console may log in as the owner.

DO $$
DECLARE
    here CONSTANT text := current_schema();
    role text;
    may text;
    named text;
    sequence regclass;
BEGIN
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', here);
    FOREACH role IN ARRAY ARRAY[
        'rfr_review', 'rfr_console', 'rfr_reception', 'rfr_appeal', 'rfr_callback', 'rfr_stage', 'rfr_embedding'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', here, role);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', here, role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', here, role);
    END LOOP;

    FOR role, may, named IN
        SELECT rule.role, rule.may, unnest(rule.tables)
        FROM (VALUES
            -- The review stage writes what people have decided, and what the world is owed for it.
            ('rfr_review', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
                'cases', 'decisions', 'inbox', 'outbox', 'reviewers', 'held_references', 'erased_references',
                'leads', 'seeds', 'acknowledgements', 'subscribers', 'disposals', 'conflicts', 'standing_probes',
                'standing_meetings'
            ]),
            -- The console shows cases; what people decide reaches the ledger by Kafka alone.
            ('rfr_console', 'SELECT', ARRAY[
                'cases', 'decisions', 'inbox', 'outbox', 'reviewers', 'held_references', 'erased_references',
                'leads', 'acknowledgements', 'subscribers', 'seeds', 'disposals', 'conflicts'
            ]),
            -- Its own tables it writes; what was seen, analysed and reported is never changed.
            ('rfr_console', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
                'accounts', 'sessions', 'claims', 'examinations'
            ]),
            ('rfr_console', 'SELECT, INSERT', ARRAY['analyses', 'access_log', 'alerts']),
            -- Of what the public sent in, the console writes what an officer said of it, and nothing else.
            ('rfr_console', 'SELECT', ARRAY['contributions']),
            ('rfr_console', 'SELECT, UPDATE (waits, decided_by, decided_at, request, contribution_id, reason)', ARRAY[
                'appeal_groups'
            ]),
            ('rfr_console', 'SELECT, INSERT, DELETE', ARRAY['necessities']),
            ('rfr_appeal', 'SELECT, INSERT', ARRAY['contributions', 'appeal_groups', 'entrusted_images']),
            -- The reception says how cases stand; of machines that hand in, it knows what `rfr clients` says.
            ('rfr_reception', 'SELECT', ARRAY['cases', 'decisions', 'clients']),
            ('rfr_reception', 'SELECT, INSERT', ARRAY['received']),
            -- Whoever tells clients what became of their submissions knows who sent what, and where to tell it.
            ('rfr_callback', 'SELECT', ARRAY['clients', 'received']),
            -- And whether that still holds: of a case, how it stands, and nothing of what is in it.
            ('rfr_callback', 'SELECT (submission_id, state, outcome)', ARRAY['cases']),
            ('rfr_reception', 'SELECT, INSERT, DELETE', ARRAY['receipts', 'necessities']),
            -- Search and enrolment know references, and no case.
            ('rfr_stage', 'SELECT, INSERT, UPDATE, DELETE', ARRAY[
                'held_references', 'erased_references', 'disposals', 'conflicts'
            ]),
            -- By which door an image came, whoever takes it in notes, and nobody takes back.
            ('rfr_stage', 'SELECT, INSERT', ARRAY['entrusted_images']),
            ('rfr_review', 'SELECT, INSERT', ARRAY['entrusted_images']),
            ('rfr_reception', 'SELECT, INSERT', ARRAY['entrusted_images']),
            -- Who stands and who met whom, they put on record; what comes of it is not theirs to say.
            ('rfr_stage', 'SELECT, INSERT, UPDATE (embedder, probe)', ARRAY['standing_probes']),
            ('rfr_stage', 'SELECT, INSERT, DELETE', ARRAY['standing_meetings']),
            -- Whoever makes templates, or compares them, asks which model serves; to change it is the owner's.
            ('rfr_stage', 'SELECT', ARRAY['serving']),
            ('rfr_embedding', 'SELECT', ARRAY['serving', 'alembic_version']),
            -- Whoever opens the ledger asks first whether its tables are of this release.
            ('rfr_review', 'SELECT', ARRAY['alembic_version']),
            ('rfr_console', 'SELECT', ARRAY['alembic_version']),
            ('rfr_reception', 'SELECT', ARRAY['alembic_version']),
            ('rfr_appeal', 'SELECT', ARRAY['alembic_version']),
            ('rfr_callback', 'SELECT', ARRAY['alembic_version']),
            ('rfr_stage', 'SELECT', ARRAY['alembic_version'])
        ) AS rule (role, may, tables)
    LOOP
        CONTINUE WHEN to_regclass(format('%I.%I', here, named)) IS NULL;
        EXECUTE format('GRANT %s ON TABLE %I.%I TO %I', may, here, named, role);
        CONTINUE WHEN may NOT LIKE '%INSERT%';
        FOR sequence IN  -- those that number the table's rows
            SELECT objid::regclass FROM pg_depend JOIN pg_class ON pg_class.oid = objid
            WHERE relkind = 'S' AND deptype IN ('a', 'i') AND refobjid = to_regclass(format('%I.%I', here, named))
        LOOP
            EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', sequence, role);
        END LOOP;
    END LOOP;
END
$$;
